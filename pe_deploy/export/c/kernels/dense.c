/* out = x * weights + bias for R rows and V vectors: each weight is loaded once for R rows.
   `weights` are those of one panel from the first of these lanes on, [inputs][panel]. */
INLINE void dense_block(const int R, const int V, const size_t inputs, const size_t panel,
                        const size_t x_stride, const size_t out_stride, const float *weights,
                        const float *bias, const float *x, float *out)
{
    vector sum[8][4];
    EACH(v, V) EACH(r, R) sum[r][v] = LOAD(bias + v * LANES);
    for (size_t k = 0; k < inputs; k++, weights += panel) {
        EACH(v, V) {
            vector weight = LOAD(weights + v * LANES);
            EACH(r, R) sum[r][v] += weight * x[(size_t)r * x_stride + k];
        }
    }
    EACH(v, V) EACH(r, R) STORE(out + (size_t)r * out_stride + v * LANES, sum[r][v]);
}

#define DENSE_ROWS(R, V) \
    for (; row + (R) <= rows; row += (R)) \
        dense_block(R, V, inputs, panel, x_stride, out_stride, w, b, x + row * x_stride, \
                    out + row * out_stride + lane)

/* All rows, panel by panel, V vectors at a time: a panel's weights stay near. */
#define DENSE_LANES(R, V) \
    for (size_t lane = 0; lane < lanes; lane += (V) * LANES) { \
        const float *const w = weights + lane / panel * panel * inputs + lane % panel; \
        const float *const b = bias + lane; \
        size_t row = 0; \
        DENSE_ROWS(R, V); \
        DENSE_ROWS(2, V); \
        DENSE_ROWS(1, V); \
    }

#define DENSE(NAME, INPUTS, PANEL, NUMBERS, X_STRIDE, OUT_STRIDE, WEIGHTS, BIAS) \
    static void NAME(size_t rows, const float *x, float *out) \
    { \
        const size_t inputs = INPUTS, panel = PANEL, lanes = NUMBERS; \
        const size_t x_stride = X_STRIDE, out_stride = OUT_STRIDE; \
        const float *const weights = WEIGHTS, *const bias = BIAS; \
        if (PANEL == 48) \
            DENSE_LANES(ROWS_BY_3, 3) \
        else if (PANEL == 64) \
            DENSE_LANES(ROWS_BY_4, 4) \
        else \
            DENSE_LANES(8, 1) \
    }
