#!/usr/bin/env bash
# Encode every video of a folder: skips what is done, goes on after a failure, reports at the end.
#
#   examples/encode_folder.sh IN_FOLDER OUT_FOLDER [options of bcodec encode ...]
#   examples/encode_folder.sh holiday coded -q 40 --threads 4
#
# holiday/day1.mp4 becomes coded/day1.mp4.bcv. An output appears only when it is whole, so that one that is
# there is done: run it again to go on after an interruption. Exit status 1 if any video failed.
set -u -o pipefail
shopt -s nullglob nocaseglob

if [ $# -lt 2 ] || [ ! -d "$1" ]; then
  echo "usage: $0 IN_FOLDER OUT_FOLDER [options of bcodec encode ...]" >&2
  exit 2
fi
if ! command -v bcodec >/dev/null; then
  echo "$0: bcodec is not on the PATH; install it, or activate its virtual environment" >&2
  exit 2
fi
in_folder=$1 out_folder=$2
shift 2
mkdir -p "$out_folder" || exit 1

done_now=0 skipped=0 failed=()
for video in "$in_folder"/*.{mp4,mkv,mov,avi,webm,m4v,mpg,mpeg,ts,y4m}; do
  name=$(basename "$video")
  target=$out_folder/$name.bcv
  if [ -e "$target" ]; then
    skipped=$((skipped + 1))
    continue
  fi
  echo "== $name" >&2
  bcodec encode "$video" -o "$target" "$@" </dev/null
  status=$?
  case $status in
    0) done_now=$((done_now + 1)) ;;
    2) exit 2 ;; # wrong options fail for every video alike
    129 | 130 | 143) exit "$status" ;; # Ctrl-C and its like end it all
    *) failed+=("$name") ;;
  esac
done

echo "encoded $done_now, skipped $skipped (already there), failed ${#failed[@]}" >&2
if [ ${#failed[@]} -gt 0 ]; then
  printf '  failed: %s\n' "${failed[@]}" >&2
  exit 1
fi
