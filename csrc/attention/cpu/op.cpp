#include "attention/cpu/run.h"

INTP_REGISTER_ATTENTION(CPU, intp::run_attention_cpu)
