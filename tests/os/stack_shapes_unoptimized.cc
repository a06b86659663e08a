// See stack_shapes.inc.
#define CARREL_SHAPES unoptimized
#include "stack_shapes.inc"
