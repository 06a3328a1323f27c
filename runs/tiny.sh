#!/usr/bin/env bash
# faceshield-tiny from scratch to its scores: simulation, towers, language model, the paper's two stages, threshold, tests.
#
#   runs/tiny.sh                      drawn faces only
#   runs/tiny.sh PATH/TO/PORTRAITS    also a folder of bona fide portraits (with faces.csv and landmarks.csv: docs/simulator.md)
#
# A step is skipped once its output is complete, and a stopped one resumes where it was; times are in $OUT/times.log.
# INIT=CHECKPOINT continues training that checkpoint's towers and language model (a further cycle), without language stage and
# stage 1. GROW first makes its vision tower deeper or its input larger, e.g. GROW='{num_hidden_layers: 6, image_size: 224}'.
# With HALF=1 the average of the weights before and after the cycle is scored, as was done for the shipped model.
# Environment: OUT (runs/tiny), SIZE=full|short|cycle|toy, SEED (0, added to the seeds of the pictures), THREADS (2), WORKERS (2),
# RETAKE (1: also train on one more exposure of each training picture, see `faceshield retake`; 0: do not), ALSO (OUT of an
# earlier cycle, to train on its pictures once more), PICTURES="9000 8000 3000 3000" (other numbers of training pictures: drawn
# and photographs for the towers, then for the language model), TOWER_MINUTES, SFT_MINUTES, ABLATIONS=1 (two more trainings,
# without SAVP and without PVTM), PYTHON.
set -euo pipefail
cd "$(dirname "$0")/.."

FACES=${1:-${FACES:-}}
OUT=${OUT:-runs/tiny}
SIZE=${SIZE:-full}
INIT=${INIT:-}
ALSO=${ALSO:-}
RETAKE=${RETAKE:-1}
HALF=${HALF:-0}
SEED=${SEED:-0}
THREADS=${THREADS:-2}
WORKERS=${WORKERS:-2}
PYTHON=${PYTHON:-$([ -x .venv/bin/python ] && echo .venv/bin/python || echo python3)}
# Numbers of pictures (drawn, photographs): for the towers, for the language model alone, and for the other two splits.
case $SIZE in
  full) TRAIN=(6500 7500) LATER=(3000 3000) DEV=(2000 2000) TEST=(2000 2000); TOWER_MINUTES=${TOWER_MINUTES:-65}; LM_MINUTES=3; SFT_MINUTES=${SFT_MINUTES:-22}
        TOWER=() STAGE=() ;;
  short) TRAIN=(4500 6500) LATER=(2500 2500) DEV=(600 600) TEST=(400 400); TOWER_MINUTES=${TOWER_MINUTES:-59}; LM_MINUTES=3; SFT_MINUTES=${SFT_MINUTES:-30}
        TOWER=() STAGE=(cache_features=false) ;;  # a third of an epoch: a cache would never be read twice
  cycle) TRAIN=(16000 14000) LATER=(5000 5000) DEV=(2000 2000) TEST=(2000 2000); TOWER_MINUTES=${TOWER_MINUTES:-50}; SFT_MINUTES=${SFT_MINUTES:-20}
        TOWER=() STAGE=(cache_features=false) ;;  # a further cycle on a trained checkpoint: give INIT
  toy)  TRAIN=(96 96) LATER=(48 48) DEV=(48 48) TEST=(36 36); TOWER_MINUTES=${TOWER_MINUTES:-0.3}; LM_MINUTES=0.2; SFT_MINUTES=${SFT_MINUTES:-0.3}
        TOWER=(batch_size=16 eval_pictures=48) STAGE=(batch_size=4) CALIBRATE=false ;;  # its scores are not meaningful
  *) echo "SIZE=$SIZE: expected full, short, cycle or toy" >&2; exit 2 ;;
esac
[ -z "${PICTURES:-}" ] || { read -ra numbers <<< "$PICTURES"; TRAIN=("${numbers[@]::2}"); LATER=("${numbers[@]:2}"); }
[ "$SIZE" != cycle ] || [ -n "$INIT" ] || { echo "SIZE=cycle goes on from a checkpoint: give it as INIT" >&2; exit 2; }
[ "$HALF" = 0 ] || [ -n "$INIT" ] || { echo "HALF=1 is half-way from a checkpoint: give it as INIT" >&2; exit 2; }
[ "$HALF" = 0 ] || [ -z "${ABLATIONS:-}" ] || { echo "HALF=1 with ABLATIONS: averaged weights beside others — take one" >&2; exit 2; }
# A further cycle starts from good features: no small pictures, a longer warm-up, and adapters a quarter of the size.
[ -n "${GROW:-}" ] && TOWER+=(grow="$GROW")
[ -n "$INIT" ] && TOWER+=(init="$INIT" low_share=0 warmup=0.05) && STAGE+=(lora_r=32 lora_alpha=64)
# Waiting threads must not spin on the cores that simulation and decoding use.
export OMP_NUM_THREADS=$THREADS OMP_WAIT_POLICY=PASSIVE
# glibc returns large blocks at once and requests them again in the next layer; keeping them makes steps faster (benchmarks/towers.py).
export GLIBC_TUNABLES=glibc.malloc.hugetlb=1:glibc.malloc.mmap_threshold=8589934592:glibc.malloc.trim_threshold=17179869184
mkdir -p "$OUT"

faceshield() { "$PYTHON" -m faceshield "$@"; }

# step NAME OUTPUT COMMAND…: runs the command unless OUTPUT exists, and logs the seconds.
step() {
  local name=$1 output=$2 start=$SECONDS
  shift 2
  if [ -e "$output" ]; then echo "== $name: done before"; return; fi
  echo "== $name"
  "$@"
  [ -e "$output" ] || { echo "$name wrote no $output" >&2; exit 1; }
  echo "$(date -u +%FT%TZ) $name $((SECONDS - start)) s" | tee -a "$OUT/times.log"
}

# yaml_list A B…: [A, B]
yaml_list() { local IFS=,; echo "[$*]"; }

# -- data: each split has its own seed and, for portraits, its own people --------------------------------------------------
SOURCES=(drawn)
[ -n "$FACES" ] && SOURCES+=(photo)
for i in "${!SOURCES[@]}"; do
  source=${SOURCES[$i]}
  from=drawn
  [ "$source" = photo ] && from=$FACES
  # Seeds are 21 to 24 for drawn sets and 11 to 14 for photographs, plus SEED.
  seed=$((SEED + 21 - 10 * i))
  for set in "train train ${TRAIN[$i]}" "dev dev ${DEV[$i]}" "test test ${TEST[$i]}" "later train ${LATER[$i]}"; do
    read -r name split count <<< "$set"
    folder=$OUT/data/$source-$name
    step "simulate $source $name" "$folder/run.json" \
      faceshield simulate --faces "$from" --count "$count" --seed $seed --split "$split" --workers "$WORKERS" --out "$folder"
    if [ "$split" = train ] && [ "$RETAKE" != 0 ]; then
      step "retake $source $name" "$folder-again/run.json" \
        faceshield retake "$folder/samples.jsonl" --out "$folder-again" --copies "$RETAKE" --seed $seed --workers "$WORKERS"
    fi
    seed=$((seed + 1))
  done
done

# The language model trains on pictures that the towers have not seen: on those they have, their features are over-confident.
samples=() dialogues=() captions=()
for source in "${SOURCES[@]}"; do
  exposures=("")
  [ "$RETAKE" = 0 ] || exposures+=("-again")
  for exposure in "${exposures[@]}"; do
    later=$OUT/data/$source-later$exposure
    step "dialogues $source$exposure" "$later/dialogues.jsonl" faceshield generate "$later/samples.jsonl" --out "$later/dialogues.jsonl"
    [ -n "$INIT" ] || step "captions $source$exposure" "$later/captions.jsonl" \
      faceshield generate "$later/samples.jsonl" --out "$later/captions.jsonl" --tasks caption
    samples+=("$OUT/data/$source-train$exposure/samples.jsonl")
    dialogues+=("$later/dialogues.jsonl")
    captions+=("$later/captions.jsonl")
  done
  samples+=("$OUT/data/$source-dev/samples.jsonl")
  [ -z "$ALSO" ] || samples+=("$ALSO/data/$source-train/samples.jsonl")
done

# -- training ------------------------------------------------------------------------------------------------------------
train() { faceshield train "configs/train/tiny-$1.yaml" threads="$THREADS" cache="$OUT/cache" "${@:2}"; }

step towers "$OUT/towers/run.json" \
  train towers data="$(yaml_list "${samples[@]}")" out="$OUT/towers" minutes="$TOWER_MINUTES" "${TOWER[@]}"
[ -n "$INIT" ] || step language "$OUT/lm/run.json" faceshield train configs/train/tiny-lm.yaml threads="$THREADS" \
  init="$OUT/towers" dialogues="$(yaml_list "${dialogues[@]}" "${captions[@]}")" out="$OUT/lm" minutes=$LM_MINUTES

# both_stages NAME OPTION…: trains the paper's two stages into $OUT/NAME (with INIT only the second), with these options.
both_stages() {
  local name=$1 begin=$OUT/towers
  shift
  if [ -z "$INIT" ]; then
    begin=$OUT/$name-pretrain
    step "pretrain $name" "$begin/run.json" train pretrain init="$OUT/lm" \
      dialogues="$(yaml_list "${captions[@]}")" out="$begin" "${STAGE[@]}" "$@"
  fi
  step "sft $name" "$OUT/$name/run.json" train sft init="$begin" \
    dialogues="$(yaml_list "${dialogues[@]}")" out="$OUT/$name" minutes="$SFT_MINUTES" "${STAGE[@]}" "$@"
}

# -- evaluation: the threshold comes from the development sets, the scores from the test sets ------------------------------
# Calibration uses whole pictures; the threshold is chosen on detected faces, looked at as `inspect` does.
evaluate() {
  local name=$1 model=$OUT/$1 source
  local dev=("${SOURCES[@]/#/$model/dev/}") found=("${SOURCES[@]/#/$model/dev-detect/}")
  step "predict $name dev" "$model/dev/done" predict_split "$name" dev coarse
  faceshield train threshold out="$model" predictions="$(yaml_list "${dev[@]/%/.jsonl}")" \
    dataset="simulated dev (${SOURCES[*]})" criterion=bpcer5 calibrate="${CALIBRATE:-true}"
  step "predict $name dev, faces" "$model/dev-detect/done" predict_split "$name" dev coarse detect
  faceshield train threshold out="$model" predictions="$(yaml_list "${found[@]/%/.jsonl}")" \
    dataset="simulated dev (${SOURCES[*]}), faces found" criterion=bpcer5 unjudged=true
  step "predict $name test" "$model/test/done" predict_split "$name" test coarse,fine,reasoning,localization
  for source in "${SOURCES[@]}"; do
    faceshield score "$model/test/$source.jsonl" --model "$model" --out "$OUT/scores/$name-$source.json"
  done
}

# predict_split NAME SPLIT TASKS [detect]: all sources in parallel, one core each, because answers are generated in small steps.
predict_split() {
  local source folder=$OUT/$1/$2${4:+-$4} jobs=()
  for source in "${SOURCES[@]}"; do
    OMP_NUM_THREADS=1 faceshield predict "$OUT/data/$source-$2/samples.jsonl" --model "$OUT/$1" \
      --out "$folder/$source.jsonl" --tasks "$3" --face "${4:-whole}" &
    jobs+=($!)
  done
  for source in "${jobs[@]}"; do
    wait "$source" || [ $? -eq 2 -a -n "${4:-}" ]  # 2: no face was found in some pictures
  done
  touch "$folder/done"
}

both_stages sft
if [ "$HALF" = 0 ]; then
  evaluate sft
else
  step average "$OUT/half/run.json" faceshield train average models="[$INIT, $OUT/sft]" out="$OUT/half" save_dtype=bfloat16
  evaluate half
fi
if [ -n "${ABLATIONS:-}" ]; then
  both_stages no-savp 'model={use_savp: false}'
  evaluate no-savp
  both_stages no-pvtm 'model={pvtm_mask_ratio: 0}'
  evaluate no-pvtm
fi

faceshield table "$OUT"/scores/*-*.json --markdown --out "$OUT/scores.md"
echo "times:"
cat "$OUT/times.log"
echo "checkpoint: $OUT/$([ "$HALF" = 0 ] && echo sft || echo half)"
