# Compiles one CUDA file for every architecture of the package; what ptxas says goes to OUTPUT.log.
# Called by CMakeLists.txt with NVCC, SOURCE, CSRC, TORCH, TORCH_STABLE_ABI, GENCODE and OUTPUT.
get_filename_component(directory ${OUTPUT} DIRECTORY)
file(MAKE_DIRECTORY ${directory})
separate_arguments(GENCODE UNIX_COMMAND "${GENCODE}")
execute_process(
  COMMAND ${NVCC} -std=c++17 -O3 -I${CSRC} -isystem ${TORCH} -DTORCH_TARGET_VERSION=${TORCH_STABLE_ABI}
          ${GENCODE} -Xptxas -v -c ${SOURCE} -o ${OUTPUT}.o
  OUTPUT_VARIABLE log ERROR_VARIABLE log RESULT_VARIABLE failed)
if(failed)
  message(FATAL_ERROR "${log}")
endif()
file(WRITE ${OUTPUT}.log "${log}")
