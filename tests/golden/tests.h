#pragma once

// One function a file of this folder: 0 where its cases hold, 1 where not, 77 without its vectors.
namespace assay::golden {

int chat();
int coverage();
int generate();
int lora();
int losses();
int minilm();
int models();
int optim();
int routing();
int sae();
int safetensors_samples();
int smollm2();
int stats();
int stories();
int tokenizers();

}  // namespace assay::golden
