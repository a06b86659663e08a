// A doubly linked list through a member of its elements: no allocation, no ownership.
//
// Not thread-safe: whoever owns the list guards it. `T` has members `T* next` and `T* prev`.
#pragma once

namespace carrel::core {

template <class T>
class IntrusiveList {
 public:
  bool empty() const { return head_ == nullptr; }
  T* front() const { return head_; }

  void push_front(T* element) {
    element->prev = nullptr;
    element->next = head_;
    if (head_ != nullptr) head_->prev = element;
    head_ = element;
  }

  void remove(T* element) {
    if (element->prev != nullptr) {
      element->prev->next = element->next;
    } else {
      head_ = element->next;
    }
    if (element->next != nullptr) element->next->prev = element->prev;
  }

 private:
  T* head_ = nullptr;
};

}  // namespace carrel::core
