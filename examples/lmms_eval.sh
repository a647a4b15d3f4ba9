#!/bin/sh
# lmms-eval's own command on a local task, without network: the held-out videos of the shapes task.
#
#   sh examples/lmms_eval.sh FOLDER
#
# in an environment with lmms-eval and this package (docs/lmms_eval.md).
set -e
folder=${1:?a folder for the task and the results}
model=$(python -c "import intp_video; print(intp_video.SMALL_MODEL)")

python -m intp_video.lab.lmms_task "$folder" --videos 20
HF_HUB_OFFLINE=1 HF_DATASETS_OFFLINE=1 python -m lmms_eval \
    --model intp_video --model_args "pretrained=$model,frames=32" \
    --include_path "$folder" --tasks shapes --output_path "$folder/results" --log_samples
