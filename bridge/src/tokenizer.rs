//! Tokenizers of a tokenizer.json, run by the crate `tokenizers`.
use crate::abi::{deliver, guarded, input, AssayText, Outcome};
use std::os::raw::{c_char, c_int};
use tokenizers::models::bpe::{BpeTrainer, BPE};
use tokenizers::models::TrainerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{AddedToken, EncodeInput, Tokenizer};

pub struct AssayTokenizer(Tokenizer);

#[repr(C)]
pub struct AssayEncoding {
    count: usize,
    ids: *mut u32,
    offsets: *mut u32,
    type_ids: *mut u32,
    tokens: AssayText,
    token_ends: *mut usize,
}

fn load(json: &str) -> Outcome<Tokenizer> {
    let mut tokenizer = Tokenizer::from_bytes(json).map_err(|e| e.to_string())?;
    // transformers sets both anew at every call; a stored fixed padding would also let a small file ask for any amount of memory.
    tokenizer.with_padding(None);
    tokenizer.with_truncation(None).map_err(|e| e.to_string())?;
    Ok(tokenizer)
}

/// A boxed slice given to the caller as a pointer (null where empty).
fn leak<T>(items: Vec<T>) -> *mut T {
    if items.is_empty() {
        return std::ptr::null_mut();
    }
    Box::into_raw(items.into_boxed_slice()) as *mut T
}

unsafe fn reclaim<T>(pointer: *mut T, count: usize) {
    if !pointer.is_null() {
        drop(Box::from_raw(std::ptr::slice_from_raw_parts_mut(pointer, count)));
    }
}

fn encode(tokenizer: &Tokenizer, what: EncodeInput, add_special: bool, full: bool) -> Outcome<AssayEncoding> {
    if !full {
        let encoding = tokenizer.encode_fast(what, add_special).map_err(|e| e.to_string())?;
        let ids = encoding.get_ids().to_vec();
        return Ok(AssayEncoding {
            count: ids.len(),
            ids: leak(ids),
            offsets: std::ptr::null_mut(),
            type_ids: std::ptr::null_mut(),
            tokens: AssayText::empty(),
            token_ends: std::ptr::null_mut(),
        });
    }
    let encoding = tokenizer.encode_char_offsets(what, add_special).map_err(|e| e.to_string())?;
    let mut tokens = String::new();
    let mut ends = Vec::with_capacity(encoding.len());
    for token in encoding.get_tokens() {
        tokens.push_str(token);
        ends.push(tokens.len());
    }
    Ok(AssayEncoding {
        count: encoding.len(),
        ids: leak(encoding.get_ids().to_vec()),
        offsets: leak(encoding.get_offsets().iter().flat_map(|&(a, b)| [a as u32, b as u32]).collect()),
        type_ids: leak(encoding.get_type_ids().to_vec()),
        tokens: tokens.into(),
        token_ends: leak(ends),
    })
}

fn token(tokenizer: &Tokenizer, id: u32) -> Outcome<String> {
    tokenizer.id_to_token(id).ok_or_else(|| {
        format!("the id {id} is not in the vocabulary of {} entries", tokenizer.get_vocab_size(true))
    })
}

fn decode(tokenizer: &Tokenizer, ids: &[u32], skip_special: bool) -> Outcome<String> {
    for &id in ids {
        token(tokenizer, id)?;
    }
    tokenizer.decode(ids, skip_special).map_err(|e| e.to_string())
}

/// # Safety
/// As the header says.
#[no_mangle]
pub unsafe extern "C" fn assay_tokenizer_new(
    json: *const c_char,
    size: usize,
    out: *mut *mut AssayTokenizer,
    error: *mut AssayText,
) -> c_int {
    let outcome = guarded(|| Ok(Box::into_raw(Box::new(AssayTokenizer(load(input("the text", json, size)?)?)))));
    deliver(out, error, outcome)
}

/// # Safety
/// `tokenizer` came from `assay_tokenizer_new` and is not used afterwards.
#[no_mangle]
pub unsafe extern "C" fn assay_tokenizer_free(tokenizer: *mut AssayTokenizer) {
    if !tokenizer.is_null() {
        drop(Box::from_raw(tokenizer));
    }
}

/// # Safety
/// As the header says.
#[no_mangle]
pub unsafe extern "C" fn assay_tokenizer_encode(
    tokenizer: *const AssayTokenizer,
    first: *const c_char,
    first_size: usize,
    second: *const c_char,
    second_size: usize,
    add_special: c_int,
    full: c_int,
    out: *mut AssayEncoding,
    error: *mut AssayText,
) -> c_int {
    let outcome = guarded(|| {
        let a = input("the text", first, first_size)?;
        let what: EncodeInput = if second.is_null() { a.into() } else { (a, input("the second text", second, second_size)?).into() };
        encode(&(*tokenizer).0, what, add_special != 0, full != 0)
    });
    deliver(out, error, outcome)
}

/// # Safety
/// `encoding` came from `assay_tokenizer_encode` and has not been freed.
#[no_mangle]
pub unsafe extern "C" fn assay_encoding_free(encoding: AssayEncoding) {
    reclaim(encoding.ids, encoding.count);
    reclaim(encoding.offsets, 2 * encoding.count);
    reclaim(encoding.type_ids, encoding.count);
    reclaim(encoding.token_ends, encoding.count);
    crate::abi::assay_text_free(encoding.tokens);
}

/// # Safety
/// As the header says.
#[no_mangle]
pub unsafe extern "C" fn assay_tokenizer_decode(
    tokenizer: *const AssayTokenizer,
    ids: *const u32,
    count: usize,
    skip_special: c_int,
    out: *mut AssayText,
    error: *mut AssayText,
) -> c_int {
    let outcome = guarded(|| {
        let ids = if count == 0 { &[] } else { std::slice::from_raw_parts(ids, count) };
        decode(&(*tokenizer).0, ids, skip_special != 0).map(AssayText::from)
    });
    deliver(out, error, outcome)
}

/// # Safety
/// As the header says.
#[no_mangle]
pub unsafe extern "C" fn assay_tokenizer_id(tokenizer: *const AssayTokenizer, token: *const c_char, size: usize) -> i64 {
    let found = guarded(|| Ok((*tokenizer).0.token_to_id(input("the token", token, size)?)));
    found.ok().flatten().map_or(-1, i64::from)
}

/// # Safety
/// As the header says.
#[no_mangle]
pub unsafe extern "C" fn assay_tokenizer_token(
    tokenizer: *const AssayTokenizer,
    id: u32,
    out: *mut AssayText,
    error: *mut AssayText,
) -> c_int {
    deliver(out, error, guarded(|| token(&(*tokenizer).0, id).map(AssayText::from)))
}

/// # Safety
/// As the header says.
#[no_mangle]
pub unsafe extern "C" fn assay_tokenizer_size(tokenizer: *const AssayTokenizer) -> usize {
    guarded(|| Ok((*tokenizer).0.get_vocab_size(true))).unwrap_or(0)
}

/// A byte-level BPE as GPT-2 has it, `size` entries with the special ones (ids 0, 1, ...). No minimum frequency: fewer entries only where
/// the texts have no more to join.
fn train_bpe(texts: &[&str], size: usize, special: &[&str]) -> Outcome<String> {
    let level = ByteLevel::new(false, true, true);
    let least = 256 + special.len();
    if size < least {
        return Err(format!("a vocabulary of {size} entries is too small: bytes and special tokens are {least}"));
    }
    let mut trainer: TrainerWrapper = BpeTrainer::builder()
        .vocab_size(size)
        .show_progress(false)
        .special_tokens(special.iter().map(|&t| AddedToken::from(t, true)).collect())
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .build()
        .into();
    let mut tokenizer = Tokenizer::new(BPE::default());
    tokenizer.with_pre_tokenizer(Some(level)).with_decoder(Some(level));
    tokenizer.train(&mut trainer, texts.iter()).map_err(|e| e.to_string())?;
    tokenizer.to_string(false).map_err(|e| e.to_string())
}

/// # Safety
/// As the header says.
#[no_mangle]
pub unsafe extern "C" fn assay_bpe_train(
    texts: *const *const c_char,
    sizes: *const usize,
    count: usize,
    special_count: usize,
    vocabulary: usize,
    out: *mut AssayText,
    error: *mut AssayText,
) -> c_int {
    let outcome = guarded(|| {
        let mut all = Vec::with_capacity(count);
        for i in 0..count {
            all.push(input(&format!("text {i}"), *texts.add(i), *sizes.add(i))?);
        }
        let (special, texts) = all.split_at(special_count.min(count));
        train_bpe(texts, vocabulary, special).map(AssayText::from)
    });
    deliver(out, error, outcome)
}
