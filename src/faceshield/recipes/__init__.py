"""Several stages one after another: what `faceshield train --repeat`, sweeps and `faceshield finetune` do.

A recipe knows all stages, and adds nothing to them but their order, their folders and going on where it was stopped.
Use: `run_sweep(SweepConfig.load("configs/ablation/components.yaml", ["out=runs/components", …]))`.
"""
