# Compiles one CUDA file for every architecture of the package; what ptxas says goes to OUTPUT.log.
# Called by CMakeLists.txt with NVCC, SOURCE, CSRC, TORCH and OUTPUT.
get_filename_component(directory ${OUTPUT} DIRECTORY)
file(MAKE_DIRECTORY ${directory})
execute_process(
  COMMAND ${NVCC} -std=c++17 -O3 -I${CSRC} -isystem ${TORCH} -DTORCH_TARGET_VERSION=0x020b000000000000
          -gencode=arch=compute_80,code=sm_80 -gencode=arch=compute_90a,code=sm_90a
          -gencode=arch=compute_80,code=compute_80 -Xptxas -v -c ${SOURCE} -o ${OUTPUT}.o
  OUTPUT_VARIABLE log ERROR_VARIABLE log RESULT_VARIABLE failed)
if(failed)
  message(FATAL_ERROR "${log}")
endif()
file(WRITE ${OUTPUT}.log "${log}")
