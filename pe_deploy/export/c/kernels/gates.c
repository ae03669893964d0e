/* Where vector `v` from a lane on has its first gate in a row of gates, [panel][gate][16], and its
   first weight, [panel][inputs][gate][16]. */
INLINE size_t gate_at(size_t lane, int v, size_t gates)
{
    const size_t at = lane + (size_t)(v * LANES);
    return at / 16 * 16 * gates + at % 16;
}

INLINE size_t weight_at(size_t lane, int v, size_t gates, size_t inputs)
{
    const size_t at = lane + (size_t)(v * LANES);
    return at / 16 * 16 * gates * inputs + at % 16;
}
