"""The paper's tables and figures by one command each (paper §5): what is missing is trained, scored, shown beside its numbers.

`paper` says what each table holds, `bench` makes the data and the protocols, `engine` trains and scores the rows, `show` and
`figures` present them. Use: `faceshield reproduce table2 --data sim --scale small --repeat 3`.
"""
