#include "attention/attention_run.h"

INTP_REGISTER_ATTENTION(CPU, intp::run_attention_cpu)
