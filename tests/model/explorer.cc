// The walk over choices; see explorer.h.
#include "explorer.h"

namespace model {

int Explorer::choose(int count) {
  if (count <= 1) return 0;
  if (position_ < path_.size()) {
    const Choice& choice = path_[position_++];
    if (choice.count != count) diverged_ = true;
    return choice.way < count ? choice.way : 0;
  }
  path_.push_back({0, count});
  ++position_;
  return 0;
}

bool Explorer::advance() {
  path_.resize(position_ < path_.size() ? position_ : path_.size());
  while (!path_.empty() && path_.back().way + 1 >= path_.back().count) path_.pop_back();
  if (path_.empty()) return false;
  ++path_.back().way;
  return true;
}

std::string Explorer::text() const {
  std::string text;
  for (std::size_t i = 0; i < position_ && i < path_.size(); ++i) {
    if (path_[i].way == 0) continue;
    if (!text.empty()) text += ',';
    text += std::to_string(i) + ':' + std::to_string(path_[i].way);
  }
  return text.empty() ? "none" : text;
}

}  // namespace model
