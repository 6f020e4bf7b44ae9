#include "assay/train/objectives/data_hash.h"

#include "assay/base/files.h"

namespace assay {

void DataHash::add(const Example& example) {
  const std::uint64_t n = example.ids.size();
  bytes_.append(reinterpret_cast<const char*>(&n), sizeof n);
  bytes_.append(reinterpret_cast<const char*>(example.ids.data()), example.ids.size() * sizeof(TokenId));
  bytes_.append(reinterpret_cast<const char*>(example.weights.data()), example.weights.size() * sizeof(float));
  // Chained, so that a large data set is never held a second time.
  if (bytes_.size() > (1u << 20)) bytes_ = sha256(bytes_);
}

std::string DataHash::hex() const { return sha256(bytes_); }

}  // namespace assay
