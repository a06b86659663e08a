/* Run by tests/checks/tables.py: writes every control as one line of fields between tabs, options
 * with their defaults in this process. */
#include <carrel/carrel.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

int main(void) {
  static const char* const kTypes[] = {"number", "word", "text", "action"};
  carrel_ctl_info info;
  uint64_t word;
  size_t i;
  for (i = 0; carrel_ctl_list(i, &info) == CARREL_OK; i++) {
    char value[64] = "";
    const int option = strncmp(info.name, "option.", 7) == 0;
    if (option) carrel_ctl_read_text(info.name, value, sizeof value);
    printf("%s\t%s\t%s\t%d\t%" PRIu64 "\t%" PRIu64 "\t%s\t%s\t", info.name, kTypes[info.type],
           info.unit, info.writable, info.minimum, info.maximum, value, info.meaning);
    if (info.words != NULL) {
      for (word = info.minimum; word <= info.maximum; word++) {
        printf("%s%s", word == info.minimum ? "" : ", ", info.words[word]);
      }
    }
    printf("\n");
  }
  return 0;
}
