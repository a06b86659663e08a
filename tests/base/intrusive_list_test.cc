// base/intrusive_list.h: order, and removal from every position, against a model.
#include "base/intrusive_list.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <vector>

namespace carrel::core {
namespace {

struct Element {
  Element* next = nullptr;
  Element* prev = nullptr;
};
using List = IntrusiveList<Element>;

/// The list's elements in order, with the backward links checked on the way.
std::vector<Element*> elements_of(const List& list) {
  std::vector<Element*> elements;
  Element* before = nullptr;
  for (Element* at = list.front(); at != nullptr; at = at->next) {
    EXPECT_EQ(at->prev, before);
    before = at;
    elements.push_back(at);
  }
  EXPECT_EQ(list.empty(), elements.empty());
  return elements;
}

TEST(IntrusiveList, StartsEmpty) {
  const List list;
  EXPECT_TRUE(list.empty());
  EXPECT_EQ(list.front(), nullptr);
}

TEST(IntrusiveList, PushesToTheFront) {
  List list;
  Element a, b, c;
  list.push_front(&a);
  list.push_front(&b);
  list.push_front(&c);
  EXPECT_EQ(elements_of(list), (std::vector<Element*>{&c, &b, &a}));
}

TEST(IntrusiveList, RemovesFromFrontMiddleAndEnd) {
  for (int removed = 0; removed < 3; ++removed) {
    List list;
    Element elements[3];
    for (Element& element : elements) list.push_front(&element);
    list.remove(&elements[removed]);
    const auto left = elements_of(list);
    EXPECT_EQ(left.size(), 2u);
    EXPECT_EQ(std::count(left.begin(), left.end(), &elements[removed]), 0);
  }
}

TEST(IntrusiveList, AnElementMayComeBack) {
  List list;
  Element a, b;
  list.push_front(&a);
  list.push_front(&b);
  list.remove(&a);
  list.push_front(&a);  // its old links are overwritten
  EXPECT_EQ(elements_of(list), (std::vector<Element*>{&a, &b}));
  list.remove(&b);
  list.remove(&a);
  EXPECT_TRUE(elements_of(list).empty());
}

TEST(IntrusiveList, AgreesWithAModelOverRandomOperations) {
  std::mt19937 random(1);
  List list;
  std::vector<Element> elements(20);
  std::vector<Element*> model;
  for (int step = 0; step < 2000; ++step) {
    Element* element = &elements[random() % elements.size()];
    const auto at = std::find(model.begin(), model.end(), element);
    if (at == model.end()) {
      list.push_front(element);
      model.insert(model.begin(), element);
    } else {
      list.remove(element);
      model.erase(at);
    }
    ASSERT_EQ(elements_of(list), model) << "after step " << step;
  }
}

}  // namespace
}  // namespace carrel::core
