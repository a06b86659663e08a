// See stack_shapes.inc.
#define CARREL_SHAPES optimized
#include "stack_shapes.inc"
