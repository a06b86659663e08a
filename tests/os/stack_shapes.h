// What stack_shapes.inc defines, once for each way to compile it.
#pragma once

using Look = void (*)();

namespace unoptimized {
void every_shape(Look look);
void large_frame(Look look);
}  // namespace unoptimized
namespace optimized {
void every_shape(Look look);
void large_frame(Look look);
}  // namespace optimized
namespace frame_pointers {
void every_shape(Look look);
void large_frame(Look look);
}  // namespace frame_pointers
