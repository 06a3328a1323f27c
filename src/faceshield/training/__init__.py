"""Training: the tiny model's foundation from scratch, then the paper's two stages (§4.3).

Every stage reads a checkpoint folder (or starts from random weights) and writes one: `foundation-towers`, `foundation-lm`,
`pretrain`, `sft`. Use: `faceshield train CONFIG [key=value …]`; the same command resumes a stopped run.
"""
