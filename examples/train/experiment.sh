#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Trains the same small model with dense attention and with top-k, measures all of them decoding by either, and writes the
# tables and figures of this folder's README.md:
#   bash examples/train/experiment.sh DIR [TEXT...]
# All results are in DIR. It may be stopped at any moment: called again, it goes on, and does what is done not twice.
set -euo pipefail

# The model and how it learns. Every setting can be given in the environment.
shape=${SHAPE:---layers 3 --width 128 --heads 4 --kv-heads 2 --head-size 32 --hidden 256}
curriculum=${CURRICULUM:-256:1200,512:500}
tokens=${TOKENS:-8192}  # of a step
rate=${RATE:-3e-3}
warmup=${WARMUP:-100}  # steps
lessons=${LESSONS:-text:2,recall:4,needles:2,needle:1,variables:1,common_words:1,frequent_words:1}
budgets=${BUDGETS:-8 32}  # top-k to train with, beside dense
# Dense models go on with these, a while longer.
continued=${CONTINUED-dense topk8}
continuation=${CONTINUATION:-512:300}
continued_rate=${CONTINUED_RATE:-1e-3}
seeds=${SEEDS:-1 2 3}
# What is measured, on text that is held out.
retrieval=${RETRIEVAL:-needle needles variables}
aggregation=${AGGREGATION:-common_words frequent_words}
decoding=${DECODING:-4 8 16 32 64 128}  # top-k to decode with, beside dense
imprecise=${IMPRECISE:-8 32}           # top-k that misses some: budgets ...
precisions=${PRECISIONS:-0 .25 .5 .75 .9 1}  # ... and the shares that are found
count=${COUNT:-96}                       # texts of a task
# How.
jobs=${JOBS:-2}  # at a time, of one thread each: faster than one at a time of more threads
program=${PROGRAM:-build/release/examples/train}
page=${PAGE-$(dirname "$0")/README.md}  # empty: none

fail() { echo "experiment.sh: $*" >&2; exit 1; }
[ $# -ge 1 ] || fail "which folder? bash examples/train/experiment.sh DIR [TEXT...]"
[ -x "$program" ] || fail "there is no program $program; PROGRAM=... names another"
here=$(cd "$(dirname "$0")" && pwd)
dir=$1 texts=("${@:2}")
mkdir -p "$dir"
exec 9> "$dir/lock"
flock -n 9 || fail "another one works in $dir"
if [ -n "$page" ]; then  # now, and not after hours
  command -v gnuplot > /dev/null || fail "figures need gnuplot (Debian: apt install gnuplot-nox); PAGE= makes none"
  bash "$here/page.sh" --check "$page"
fi
if [ ${#texts[@]} = 0 ]; then
  texts=("$dir/kjv.txt")
  if [ ! -s "${texts[0]}" ]; then
    command -v bible > /dev/null || fail "no TEXT given, and the King James Bible is not there (Debian: apt install bible-kjv)"
    bible -f gen1:1-rev22:21 > "${texts[0]}.part"
    mv "${texts[0]}.part" "${texts[0]}"
  fi
fi
say() { printf '\033[1m%s\033[0m\n' "$*" >&2; }

# shown NAME COMMAND...: each line it says, in a log and on the terminal, behind its name. An interrupt is for the command,
# which then says its last words.
shown() {
  "${@:2}" 2> >(trap '' INT TERM; tee -a "$dir/$1.log" | sed -u "s/^/$1: /" >&2)
}

# The estimator of a kind of training (dense, topk16, dense+topk16 ...), and its name in the tables.
estimator_of() { case ${1#dense+} in dense) echo dense ;; *) echo "topk(${1##*topk})" ;; esac; }
label_of() { case $1 in dense+*) echo "dense, then $(estimator_of "$1")" ;; *) estimator_of "$1" ;; esac; }

# trained KIND-SEED: a model, unless it is there.
trained() {
  local name=$1 model=$dir/$1.gguf
  local first="$shape --curriculum $curriculum --tokens $tokens --rate $rate --warmup $warmup"
  case $name in dense+*)
    first="--from $dir/dense-${name##*-}.gguf --curriculum $continuation --tokens $tokens --rate $continued_rate --warmup $warmup" ;;
  esac
  # shellcheck disable=SC2206  # the settings are words
  local command=(run --text "${texts[@]}" $first --tasks "$lessons" --estimator "$(estimator_of "${name%-*}")" --seed "${name##*-}" --out "$model")
  if [ -e "$dir/$name.command" ] && [ "${command[*]}" != "$(cat "$dir/$name.command")" ]; then
    echo "experiment.sh: $name was trained with other settings: another DIR, or rm $dir/$name.*" >&2
    return 255  # xargs then starts no more
  fi
  if [ -e "$model" ]; then
    for text in "${texts[@]}"; do
      [ ! "$text" -nt "$model" ] || { echo "experiment.sh: $text is newer than $model: rm $dir/$name.*" >&2; return 255; }
    done
    return
  fi
  echo "${command[*]}" > "$dir/$name.command"
  shown "$name" "$program" --threads 1 "${command[@]}" --checkpoint "$dir/$name.checkpoint" --curve "$dir/$name.csv" || return 255
  [ -e "$model" ] || return 255  # stopped
}

# measured KIND-SEED WHAT COMMAND...: what a command prints of a model, unless that is there. The first line of a file is how
# it was made.
measured() {
  local model=$dir/$1.gguf file=$dir/$1.$2
  local command=("${@:3}" --model "$model" --text "${texts[@]}" --count "$count")
  if [ -e "$file" ] && [ "$(head -n 1 "$file")" = "# ${command[*]}" ] && [ "$file" -nt "$model" ]; then return; fi
  { echo "# ${command[*]}"; "$program" --threads 1 "${command[@]}"; } > "$file.part" || return 255
  mv "$file.part" "$file"
  echo "$file" >&2
}

# evaluated KIND-SEED: all that is measured of a model.
# shellcheck disable=SC2086  # lists of words
evaluated() {
  local estimators=(dense) k
  for k in $decoding; do estimators+=("topk($k)"); done
  measured "$1" tasks evaluate --prompt dense --task text $retrieval $aggregation --estimator "${estimators[@]}"
  measured "$1" precision evaluate --prompt dense --task $retrieval $aggregation --topk $imprecise --precision $precisions
  measured "$1" entropy entropy --task text $retrieval $aggregation
}

models=()  # those of a seed next to each other
followers=()
for seed in $seeds; do
  models+=("dense-$seed")
  for k in $budgets; do models+=("topk$k-$seed"); done
  for kind in $continued; do followers+=("dense+$kind-$seed"); done
done
# each FUNCTION MODEL...: of every model. Arrays do not go through the environment, so jobs get settings and functions as text.
each() {
  local all function=$1
  shift
  all=$(declare -p dir texts program shape curriculum continuation continued_rate tokens rate warmup lessons retrieval aggregation decoding imprecise precisions count
        declare -f shown estimator_of label_of trained measured evaluated)
  printf '%s\n' "$@" | xargs -P "$jobs" -n 1 bash -c "set -euo pipefail; $all; $function \"\$1\"" "$function" ||
    fail "not all of it is done"
}
say "training ${models[*]}"
each trained "${models[@]}"
if [ ${#followers[@]} != 0 ]; then
  say "training ${followers[*]}"
  each trained "${followers[@]}"
  models+=("${followers[@]}")
fi
say "measuring"
each evaluated "${models[@]}"

# One file of each kind, a line a measurement: KIND SEED and what was printed.
gather() {
  for name in "${models[@]}"; do
    awk -v kind="$(label_of "${name%-*}")" -v seed="${name##*-}" -v OFS='\t' \
      '/^#/ || $1 == "task" { next } { $1 = $1; print kind, seed, $0 }' "$dir/$name.$1"
  done > "$dir/$1.tsv"
}
gather tasks
gather precision
gather entropy
{
  echo "shape: $shape"
  echo "curriculum (context:steps): $curriculum, $tokens tokens a step, rate $rate, warm-up $warmup"
  echo "lessons: $lessons"
  [ -z "$continued" ] || echo "dense models go on: $continuation, rate $continued_rate"
  echo "trained with: $(cut -f 1 "$dir/tasks.tsv" | awk '!seen[$0]++' | paste -sd ';' | sed 's/;/; /g')"
  echo "seeds: $seeds; texts of a task: $count"
} > "$dir/settings.txt"
[ -z "$page" ] || RETRIEVAL=$retrieval AGGREGATION=$aggregation bash "$here/page.sh" "$dir" "$page"
