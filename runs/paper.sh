#!/usr/bin/env bash
# The paper's two stages on published weights and your own prepared data: on one GPU, or on several with torchrun.
#
#   runs/paper.sh PRE.jsonl SFT.jsonl          one GPU: batches of 256 and 128 by accumulation, as in configs/train/*.yaml
#   GPUS=8 runs/paper.sh PRE.jsonl SFT.jsonl   eight GPUs, DDP; the same global batches, an eighth of the accumulation
#   GPUS=8 FSDP=1 runs/paper.sh …              the same with sharded parameters (FSDP2), if the model does not fit on one card
#
# A stopped run resumes exactly with the same command. Environment: OUT (runs/paper), BASE (checkpoints/bunny-4b), PYTHON.
set -euo pipefail
cd "$(dirname "$0")/.."
[ $# -eq 2 ] || { sed -n '2,9p' "$0" >&2; exit 2; }

PRE=$1 SFT=$2
OUT=${OUT:-runs/paper}
BASE=${BASE:-checkpoints/bunny-4b}
GPUS=${GPUS:-1}
PYTHON=${PYTHON:-$([ -x .venv/bin/python ] && echo .venv/bin/python || echo python3)}

train() { # STAGE ACCUMULATE-ON-ONE-GPU key=value…
  local stage=$1 accumulate=$(( $2 / GPUS ))
  [ $(( accumulate * GPUS )) -eq "$2" ] || { echo "GPUS=$GPUS: expected a divisor of $2, for Bunny's global batches" >&2; exit 2; }
  shift 2
  [ -e "$OUT/$stage/run.json" ] && { echo "== $stage: done before"; return; }
  local launch=("$PYTHON" -m faceshield)
  [ "$GPUS" -gt 1 ] && launch=("$PYTHON" -m torch.distributed.run --standalone --nproc-per-node "$GPUS" -m faceshield)
  "${launch[@]}" train "configs/train/$stage.yaml" out="$OUT/$stage" accumulate="$accumulate" workers=4 \
    ${FSDP:+fsdp=true} "$@"
}

[ -e "$BASE/config.json" ] || "$PYTHON" -m faceshield assemble configs/model/paper.yaml bunny=BAAI/Bunny-v1_0-4B out="$BASE"
train pretrain 32 init="$BASE" "dialogues=[$PRE]"
train sft 32 init="$OUT/pretrain" "dialogues=[$SFT]"
echo "checkpoint: $OUT/sft"
