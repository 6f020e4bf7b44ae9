#pragma once
#include <iterator>
#include <vector>

namespace assay {

template <class T>
void extend(std::vector<T>& to, std::vector<T> from) {
  to.insert(to.end(), std::make_move_iterator(from.begin()), std::make_move_iterator(from.end()));
}

}  // namespace assay
