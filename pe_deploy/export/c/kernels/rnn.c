/* One step of a plain RNN for R rows and V vectors of its state: h = activation(given + u * h). */
INLINE void rnn_block(const int R, const int V, const int placed, const int relu,
                      const size_t hidden, const size_t stride, const size_t lane, const float *u,
                      const float *const *from, const float *place, const float *h, float *out)
{
    vector sum[8][4];
    u += lane / 16 * 16 * hidden + lane % 16;
    EACH(v, V) EACH(r, R) {
        const size_t at = lane + (size_t)(v * LANES);
        sum[r][v] = LOAD(from[r] + at);
        if (placed) sum[r][v] += LOAD(place + at);
    }
    for (size_t k = 0; k < hidden; k++, u += 16) {
        EACH(v, V) {
            vector w = LOAD(u + (size_t)(v * LANES / 16) * 16 * hidden + v * LANES % 16);
            EACH(r, R) sum[r][v] += w * h[(size_t)r * stride + k];
        }
    }
    EACH(v, V) EACH(r, R) {
        const size_t own = (size_t)r * stride + lane + (size_t)(v * LANES);
        vector p, q, zero = ALL(0.0f);
        if (relu) {
            STORE(out + own, CHOSEN(sum[r][v] > zero, sum[r][v], zero));
        } else {
            tanh_parts(sum[r][v], &p, &q);
            STORE(out + own, p / q);
        }
    }
}
