//! Offsets in one arena: largest first, each at the lowest place that is free while it lives.

/// A tensor that needs a place.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    /// Size.
    pub bytes: usize,
    /// First and last launch, both included.
    pub live: (usize, usize),
}

/// An offset for each request, and the size of the arena.
pub fn assign(requests: &[Request], align: usize) -> (Vec<usize>, usize) {
    let round = |n: usize| n.div_ceil(align) * align;
    let mut order: Vec<usize> = (0..requests.len()).collect();
    order.sort_by_key(|&i| (std::cmp::Reverse(requests[i].bytes), requests[i].live.0, i));
    // Placed requests by offset.
    let mut placed: Vec<(usize, usize, (usize, usize))> = vec![];
    let mut offsets = vec![0; requests.len()];
    let mut size = 0;
    for i in order {
        let r = requests[i];
        let need = round(r.bytes);
        let mut at = 0;
        for &(start, end, live) in &placed {
            let together = live.0 <= r.live.1 && r.live.0 <= live.1;
            if !together || end <= at {
                continue;
            }
            if start >= at + need {
                break;
            }
            at = end;
        }
        offsets[i] = at;
        size = size.max(at + need);
        if need > 0 {
            let slot = placed.partition_point(|p| p.0 < at);
            placed.insert(slot, (at, at + need, r.live));
        }
    }
    (offsets, size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tensors_of_different_times_share() {
        let r = |bytes, live| Request { bytes, live };
        let (at, size) = assign(&[r(100, (0, 1)), r(100, (2, 3)), r(60, (1, 2)), r(0, (0, 9))], 64);
        assert_eq!(at[0], at[1]);
        assert_eq!(at[2], 128);
        assert_eq!(size, 192);
    }
}
