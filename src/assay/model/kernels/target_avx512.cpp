#if defined(__x86_64__)
#define ASSAY_TARGET avx512
#include "assay/model/kernels/target.inc"
#endif
