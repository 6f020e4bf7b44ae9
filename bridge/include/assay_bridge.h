/* The C ABI of the bridge: the crate `tokenizers` and chat templates run by `minijinja`.
 *
 * Every function that can fail returns 0 when it is done and 1 when it failed; it then leaves a UTF-8 message in *error. No panic crosses this border.
 * Text goes in as (pointer, bytes) and must be UTF-8, else the call fails; it need not end in a zero. What comes out belongs to the caller and is given back
 * with the matching free function. A tokenizer may be used by several threads at once. */
#ifndef ASSAY_BRIDGE_H
#define ASSAY_BRIDGE_H
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Bytes owned by the bridge. {0, 0, 0} is empty and needs no free. */
typedef struct AssayText {
  char* data;
  size_t size, capacity;
} AssayText;
void assay_text_free(AssayText text);

/* --- tokenizers ------------------------------------------------------------------------------------------------------------------------- */

typedef struct AssayTokenizer AssayTokenizer;

/* From the text of a tokenizer.json. Its padding and truncation are left out: they are the caller's business. */
int assay_tokenizer_new(const char* json, size_t size, AssayTokenizer** out, AssayText* error);
void assay_tokenizer_free(AssayTokenizer* tokenizer);

typedef struct AssayEncoding {
  size_t count;
  uint32_t* ids;        /* [count] */
  uint32_t* offsets;    /* [2*count] half-open ranges, in code points of the input (of its own sentence, in a pair); null unless asked for */
  uint32_t* type_ids;   /* [count] which sentence; null unless asked for */
  AssayText tokens;     /* the tokens' texts, one after the other; empty unless asked for */
  size_t* token_ends;   /* [count] where each ends in `tokens`; null unless asked for */
} AssayEncoding;
/* `second` may be null (no pair). `full`: tokens and offsets too. */
int assay_tokenizer_encode(const AssayTokenizer* tokenizer, const char* first, size_t first_size, const char* second, size_t second_size, int add_special,
                           int full, AssayEncoding* out, AssayText* error);
void assay_encoding_free(AssayEncoding encoding);

/* An id outside the vocabulary is an error. */
int assay_tokenizer_decode(const AssayTokenizer* tokenizer, const uint32_t* ids, size_t count, int skip_special, AssayText* out, AssayText* error);
/* -1 where the token is not in the vocabulary. */
int64_t assay_tokenizer_id(const AssayTokenizer* tokenizer, const char* token, size_t size);
int assay_tokenizer_token(const AssayTokenizer* tokenizer, uint32_t id, AssayText* out, AssayText* error);
/* Added tokens included. */
size_t assay_tokenizer_size(const AssayTokenizer* tokenizer);

/* Learns a byte-level BPE (as GPT-2's) of `vocabulary` entries and gives its tokenizer.json. The first `special_count` of the `count` texts are special tokens,
 * ids 0, 1, ...; it learns from the others. The same texts give the same bytes. */
int assay_bpe_train(const char* const* texts, const size_t* sizes, size_t count, size_t special_count, size_t vocabulary, AssayText* out, AssayText* error);

/* --- chat templates --------------------------------------------------------------------------------------------------------------------- */

/* Renders a Jinja chat template in the environment of transformers. `context`: a JSON object with the template's variables, in the order of its keys.
 * `now`: what strftime_now sees, "YYYY-MM-DD HH:MM:SS" (a T in place of the blank is fine).
 * `out`: a JSON object {"text": ..., "spans": [[begin, end], ...]}: half-open code-point ranges of what stands inside {% generation %}.
 * `message` of raise_exception(message) becomes the error as it stands. A rendering has a limited amount of steps: a template cannot run for ever. */
int assay_template_render(const char* source, size_t source_size, const char* context, size_t context_size, const char* now, size_t now_size, AssayText* out,
                          AssayText* error);

#ifdef __cplusplus
}
#endif
#endif
