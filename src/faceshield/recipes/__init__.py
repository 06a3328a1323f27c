"""Several stages one after another: what `faceshield train --repeat`, sweeps and `faceshield finetune` do.

A recipe adds nothing to the stages but their order, their folders, and resumption after a stop.
Use: `run_sweep(SweepConfig.load("configs/ablation/components.yaml", ["out=runs/components", …]))`.
"""
