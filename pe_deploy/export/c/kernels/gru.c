/* One step of a GRU for R rows and V vectors of its state.

       reset, keep = sigmoid(given + u * h)      new = tanh(given + reset * (u * h + bias))
       h           = h + keep * (new - h)

   `from` has what the inputs give each gate, [panel][reset, keep, new][16], and `place` what the
   place in the row adds to that. With r = (qr + pr) / 2 qr and so on, a step has two divisions. */
INLINE void gru_block(const int R, const int V, const int placed, const size_t hidden,
                      const size_t stride, const size_t lane, const size_t begin, const size_t end,
                      float *sums, const float *u, const float *bias, const float *const *from,
                      const float *place, const float *h, float *out)
{
    vector reset[8][4], keep[8][4], new[8][4];
    EACH(v, V) EACH(r, R) {
        if (begin == 0) {
            const size_t at = gate_at(lane, v, 3);
            reset[r][v] = LOAD(from[r] + at);
            keep[r][v] = LOAD(from[r] + at + 16);
            new[r][v] = LOAD(bias + lane + v * LANES);
            if (placed) {
                reset[r][v] += LOAD(place + at);
                keep[r][v] += LOAD(place + at + 16);
            }
        } else {
            const float *const sum = sums + (r * V + v) * 3 * LANES;
            reset[r][v] = LOAD(sum);
            keep[r][v] = LOAD(sum + LANES);
            new[r][v] = LOAD(sum + 2 * LANES);
        }
    }
    for (size_t k = begin; k < end; k++) {
        EACH(v, V) {
            const float *const w = u + weight_at(lane, v, 3, hidden) + k * 48;
            vector w_reset = LOAD(w), w_keep = LOAD(w + 16), w_new = LOAD(w + 32);
            EACH(r, R) {
                float state = h[(size_t)r * stride + k];
                reset[r][v] += w_reset * state;
                keep[r][v] += w_keep * state;
                new[r][v] += w_new * state;
            }
        }
    }
    EACH(v, V) EACH(r, R) {
        if (end < hidden) {
            float *const sum = sums + (r * V + v) * 3 * LANES;
            STORE(sum, reset[r][v]);
            STORE(sum + LANES, keep[r][v]);
            STORE(sum + 2 * LANES, new[r][v]);
            continue;
        }
        const size_t at = gate_at(lane, v, 3);
        const size_t own = (size_t)r * stride + lane + (size_t)(v * LANES);
        vector pr, qr, pk, qk, pn, qn, given = LOAD(from[r] + at + 32);
        if (placed) given += LOAD(place + at + 32);
        tanh_parts(reset[r][v], &pr, &qr);
        tanh_parts(keep[r][v], &pk, &qk);
        tanh_parts(given + new[r][v] * ((qr + pr) / (qr + qr)), &pn, &qn);
        STORE(out + own,
              ((qk + pk) * pn + (qk - pk) * (LOAD(h + own) * qn)) / ((qk + qk) * qn));
    }
}
