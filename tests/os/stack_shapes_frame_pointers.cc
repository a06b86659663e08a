// See stack_shapes.inc.
#define CARREL_SHAPES frame_pointers
#include "stack_shapes.inc"
