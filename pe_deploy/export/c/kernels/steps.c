/* A step of a layer for all rows, by blocks of R of them and V vectors of the state. In every other
   step the weights are gone through the other way round: what was used last is in the nearest cache. */
#define BLOCKS(CELLS, R, V) \
    { \
        for (size_t v = 0; v < vectors; v += (V)) { \
            const size_t lane = (odd ? vectors - (V) - v : v) * LANES; \
            for (size_t row = first; row + (R) <= rows; row += (R)) CELLS(R, V); \
        } \
        first = rows - (rows - first) % (R); \
    }

#define STEP(CELLS, MOST, V) \
    const size_t vectors = stride / LANES; \
    size_t first = 0; \
    if (rows >= (MOST) && vectors % (V) == 0) \
        BLOCKS(CELLS, MOST, V) \
    else if (rows >= (MOST)) \
        BLOCKS(CELLS, MOST, 1) \
    if ((MOST) > 4 && rows - first >= 4) BLOCKS(CELLS, 4, 1) \
    if ((MOST) > 2 && rows - first >= 2) BLOCKS(CELLS, 2, 1) \
    if ((MOST) > 1 && rows > first) { \
        if (vectors % 2 == 0) \
            BLOCKS(CELLS, 1, 2) \
        else \
            BLOCKS(CELLS, 1, 1) \
    }
