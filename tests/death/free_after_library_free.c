/* A block that the C library has freed already: getline replaces its buffer. */
#include "death.h"

static void* free_twice(void* argument) {
  (void)argument;
  char* line = (char*)malloc(120);
  size_t capacity = 120;
  char* old = line;
  FILE* stream = tmpfile();
  if (stream == NULL) _exit(3);
  for (int i = 0; i < 100000; i++) fputc(97, stream);
  rewind(stream);
  if (getline(&line, &capacity, stream) != 100000) _exit(3);
  fclose(stream);
  if (line == old) _exit(3);
  misuse(old);
  free(hidden(old));
  return NULL;
}

int main(void) {
  run_in_thread(free_twice, NULL);
  return 0;
}
