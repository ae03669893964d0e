/* A step of a layer for all rows, by blocks of R of them and V vectors of the state. In every other
   step the weights are gone through the other way round: what was used last is in the nearest cache.
   Of a wide layer, a part of the weights that fits into that cache is used for all rows before the
   next part, and `sums` has what is summed up so far. */
#define BLOCKS(CELLS, R, V, SUMS) \
    { \
        for (size_t v = 0; v < vectors; v += (V)) { \
            const size_t lane = (odd ? vectors - (V) - v : v) * LANES; \
            for (size_t begin = 0; begin < hidden; begin += PART / (SUMS)) { \
                const size_t left = hidden - begin; \
                const size_t end = begin + (left < PART / (SUMS) ? left : PART / (SUMS)); \
                for (size_t row = first; row + (R) <= rows; row += (R)) \
                    CELLS(R, V, sums + (row - first) * (V) * (SUMS) * LANES); \
            } \
        } \
        first = rows - (rows - first) % (R); \
    }

#define STEP(CELLS, SUMS, MOST, V) \
    const size_t vectors = stride / LANES; \
    _Alignas(64) float sums[BLOCK * (V) * (SUMS) * LANES]; \
    size_t first = 0; \
    if (rows >= (MOST) && vectors % (V) == 0) \
        BLOCKS(CELLS, MOST, V, SUMS) \
    else if (rows >= (MOST)) \
        BLOCKS(CELLS, MOST, 1, SUMS) \
    if ((MOST) > 4 && rows - first >= 4) BLOCKS(CELLS, 4, 1, SUMS) \
    if ((MOST) > 2 && rows - first >= 2) BLOCKS(CELLS, 2, 1, SUMS) \
    if ((MOST) > 1 && rows > first) { \
        if (vectors % 2 == 0) \
            BLOCKS(CELLS, 1, 2, SUMS) \
        else \
            BLOCKS(CELLS, 1, 1, SUMS) \
    }
