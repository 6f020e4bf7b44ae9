//! The C ABI is declared in include/assay_bridge.h.
mod abi;
mod python;
mod template;
mod tokenizer;
