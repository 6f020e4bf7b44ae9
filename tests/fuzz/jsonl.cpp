// Any bytes as JSON Lines of documents, chats and preference pairs: an Error, or records that can be written again.
#include "assay/corpus/jsonl.h"

#include <cstddef>
#include <cstdint>

#include "memory_file.h"

namespace {

template <class Read>
void try_to(const Read& read) {
  try {
    read();
  } catch (const assay::Error&) {
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const assay::fuzz::MemoryFile bytes(data, size);
  try_to([&] { (void)assay::read_documents(bytes.path()); });
  try_to([&] {
    for (const assay::Chat& chat : assay::read_chats(bytes.path())) (void)assay::dump(chat.messages);
  });
  try_to([&] {
    for (const assay::PreferenceRecord& pair : assay::read_pairs(bytes.path()))
      (void)(assay::dump(pair.prompt) + assay::dump(pair.chosen) + assay::dump(pair.rejected));
  });
  return 0;
}
