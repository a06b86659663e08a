/* jemalloc_compat.h from C; the checks are in compat.h. */
#include "compat.h"

int main(void) { return check_compat(); }
