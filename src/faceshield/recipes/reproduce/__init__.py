"""The paper's tables and figures, one command each (§5): trains and scores what is missing, shows it beside the paper's.

`paper` defines what each table holds, `bench` makes the data and the protocols, `reproduction` trains and scores the rows, and
`show` and `figures` present them. Use: `faceshield reproduce table2 --data sim --scale small --repeat 3`.
"""
