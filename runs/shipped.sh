#!/usr/bin/env bash
# The shipped faceshield-tiny from nothing to its scores, as it was made (docs/history.md): nine hours or so of two quiet cores.
#
#   runs/shipped.sh PATH/TO/PORTRAITS      a folder of bona fide portraits (and its faces.csv, landmarks.csv: docs/simulator.md)
#
# Every step is skipped once its output is complete and goes on where it was stopped.
# Environment: OUT (runs/shipped), PART (1; 300: a three-hundredth of everything, to see that it runs), THREADS (2), WORKERS (2),
# PYTHON.
set -euo pipefail
cd "$(dirname "$0")/.."
[ $# -eq 1 ] || { sed -n '2,8p' "$0" >&2; exit 2; }

export FACES=$1 OUT=${OUT:-runs/shipped} THREADS=${THREADS:-2} WORKERS=${WORKERS:-2}
PART=${PART:-1}
export PYTHON=${PYTHON:-$([ -x .venv/bin/python ] && echo .venv/bin/python || echo python3)}
export OMP_NUM_THREADS=$THREADS OMP_WAIT_POLICY=PASSIVE
export GLIBC_TUNABLES=glibc.malloc.hugetlb=1:glibc.malloc.mmap_threshold=8589934592:glibc.malloc.trim_threshold=17179869184
TOY=()
[ "$PART" -eq 1 ] || TOY=(batch_size=8)

faceshield() { "$PYTHON" -m faceshield "$@"; }
of() { echo $(($1 / PART > 60 ? $1 / PART : 60)); }      # of COUNT: the part of it
minutes() { awk -v m="$1" -v p="$PART" 'BEGIN { print m / p }'; }
yaml_list() { local IFS=,; echo "[$*]"; }

# -- pictures: "train" and "more" for the towers; "later" and "even-later" for the language model, which is to learn from pictures
#    that the towers have not seen; most of them also taken again with a careless camera
simulated() { # NAME COUNT SEED SPLIT FACES
  [ -e "$OUT/data/$1/run.json" ] ||
    faceshield simulate --faces "$5" --count "$(of "$2")" --seed "$3" --split "$4" --workers "$WORKERS" --out "$OUT/data/$1"
}
pictures() { # NAME SPLIT DRAWN SEED PHOTOGRAPHS SEED
  simulated "drawn-$1" "$3" "$4" "$2" drawn
  simulated "photo-$1" "$5" "$6" "$2" "$FACES"
}
again() { # NAME SEED
  [ -e "$OUT/data/$1-again/run.json" ] ||
    faceshield retake "$OUT/data/$1/samples.jsonl" --seed "$2" --workers "$WORKERS" --out "$OUT/data/$1-again"
}
pictures train train 16000 141 14000 131
pictures more train 18000 161 20000 151
pictures later train 5000 144 5000 134
pictures even-later train 5000 164 5000 154
pictures dev dev 2000 132 2000 122
pictures test test 2000 133 2000 123
again photo-more 1
again drawn-more 2
again photo-train 3
again drawn-train 4
again photo-even-later 5
again drawn-even-later 6
told() { # FILE NAME...: these sets' files, drawn and photographs
  local file=$1 name all=()
  shift
  for name in "$@"; do all+=("$OUT/data/drawn-$name/$file.jsonl" "$OUT/data/photo-$name/$file.jsonl"); done
  yaml_list "${all[@]}"
}
for name in later even-later even-later-again; do
  for source in drawn photo; do
    folder=$OUT/data/$source-$name
    [ -e "$folder/dialogues.jsonl" ] || faceshield generate "$folder/samples.jsonl" --out "$folder/dialogues.jsonl"
    [ "$name" != later ] || [ -e "$folder/captions.jsonl" ] ||
      faceshield generate "$folder/samples.jsonl" --out "$folder/captions.jsonl" --tasks caption
  done
done

# -- training: four cycles of the towers; behind the second, the third and the last the language model learns to read them
train() { # CONFIG FOLDER key=value...
  local config=$1 folder=$2
  shift 2
  [ -e "$OUT/$folder/run.json" ] ||
    faceshield train "configs/train/tiny-$config.yaml" out="$OUT/$folder" threads="$THREADS" "${TOY[@]}" "$@"
}
stage() { train "$@" cache="$OUT/cache"; }
towers() { # FOLDER PICTURES SEED DATA key=value...
  local folder=$1 seen=$2 seed=$3 data=$4
  shift 4
  stage towers "$folder" data="$data" pictures="$(of "$seen")" minutes=null seed="$seed" eval_every=50000 eval_pictures=4000 "$@"
  rm -f "$OUT"/cache/pixels-*.npy # 220 kB a picture
}
MORE=(low_share=0 warmup=0.05)
towers towers-1 350000 0 "$(told samples train dev)" 'model={vision_config: {num_hidden_layers: 3}}'
towers towers-2 300000 1 "$(told samples train dev)" init="$OUT/towers-1" grow=4 "${MORE[@]}"
train lm lm init="$OUT/towers-2" minutes="$(minutes 3)" \
  dialogues="$(yaml_list "$OUT"/data/{drawn,photo}-later/{dialogues,captions}.jsonl)"
stage pretrain pretrain init="$OUT/lm" dialogues="$(told captions later)"
stage sft sft-2 init="$OUT/pretrain" dialogues="$(told dialogues later)" minutes="$(minutes 25)"
towers towers-3 190000 2 "$(told samples train more dev)" init="$OUT/sft-2" learning_rate=7e-4 "${MORE[@]}"
stage sft sft-3 init="$OUT/towers-3" dialogues="$(told dialogues later even-later)" minutes="$(minutes 25)"
towers towers-4 140000 3 "$(told samples more more-again train-again dev)" init="$OUT/sft-3" learning_rate=7e-4 "${MORE[@]}"
stage sft sft init="$OUT/towers-4" dialogues="$(told dialogues later even-later even-later-again)" minutes="$(minutes 25)"

# -- threshold and scores, as runs/tiny.sh has them; pictures, towers and stages are there already
[ -e "$OUT/towers" ] || ln -s towers-4 "$OUT/towers"
INIT=$OUT/sft-3 SIZE=cycle CALIBRATE=$([ "$PART" -eq 1 ] && echo true || echo false) exec bash runs/tiny.sh "$FACES"
