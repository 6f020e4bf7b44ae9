#define ASSAY_TARGET baseline
#include "assay/model/kernels/target.inc"
