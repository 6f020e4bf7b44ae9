#if defined(__x86_64__)
#define ASSAY_TARGET avx512bf16
#include "assay/model/kernels/target.inc"
#endif
