/* A library that calls back. FRAME_BYTES decides how large its frame is and changes nothing else,
 * so that two of them differ by the rules for their code alone. */
int call_back(void (*look)(void));

int call_back(void (*look)(void)) {
  volatile char bytes[FRAME_BYTES];
  bytes[3] = 4;
  look();
  return bytes[3];
}
