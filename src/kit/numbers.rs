//! An Ed25519 public key as PuTTY keeps it: both affine coordinates, in hexadecimal.
//! Absent on purpose: secrets. Nothing here needs constant time.

use num_bigint::BigUint;
use ssh_key::PublicKey;
use ssh_key::public::KeyData;

/// `0xX,0xY` as in `SshHostKeys` (PuTTY's `eddsa_cache_str`); `None` for keys of other kinds and for no point of the curve.
pub fn of(key: &PublicKey) -> Option<String> {
    let KeyData::Ed25519(key) = key.key_data() else { return None };
    let (x, y) = point(&key.0)?;
    Some(format!("0x{x:x},0x{y:x}"))
}

/// RFC 8032 §5.1.3: x² = (y² − 1) / (d·y² + 1), and the top bit says which root.
fn point(encoded: &[u8; 32]) -> Option<(BigUint, BigUint)> {
    let one = BigUint::from(1_u8);
    let p = (&one << 255_u8) - 19_u8;
    let inverse = |n: &BigUint| n.modpow(&(&p - 2_u8), &p);
    let d = (&p - 121_665_u32) * inverse(&BigUint::from(121_666_u32)) % &p;
    let mut y = BigUint::from_bytes_le(encoded);
    let odd = y.bit(255);
    y.set_bit(255, false);
    if y >= p {
        return None;
    }
    let square = &y * &y % &p;
    let x2 = (&square + &p - &one) * inverse(&((d * &square + &one) % &p)) % &p;
    let mut x = x2.modpow(&((&p + 3_u8) >> 3_u8), &p);
    if &x * &x % &p != x2 {
        x = x * BigUint::from(2_u8).modpow(&((&p - &one) >> 2_u8), &p) % &p;
    }
    if &x * &x % &p != x2 || (x == BigUint::ZERO && odd) {
        return None;
    }
    if x.bit(0) != odd {
        x = &p - x;
    }
    Some((x, y))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_base_point_is_where_rfc_8032_has_it() {
        let mut encoded = [0x66; 32];
        encoded[0] = 0x58;
        let (x, y) = point(&encoded).unwrap();
        assert_eq!(
            x.to_string(),
            "15112221349535400772501151409588531511454012693041857206046113283949847762202"
        );
        assert_eq!(
            y.to_string(),
            "46316835694926478169428394003475163141307993866256225615783033603165251855960"
        );
        encoded[31] |= 0x80;
        let (mirrored, _) = point(&encoded).unwrap();
        assert_eq!(mirrored + x, (BigUint::from(1_u8) << 255_u8) - 19_u8);
    }

    #[test]
    fn what_is_no_point_has_no_numbers() {
        let mut two = [0; 32];
        two[0] = 2;
        assert_eq!(point(&two), None, "not on the curve");
        let mut large = [0xff; 32];
        large[31] = 0x7f;
        assert_eq!(point(&large), None, "y is not below p");
        let mut zero = [0; 32];
        (zero[0], zero[31]) = (1, 0x80);
        assert_eq!(point(&zero), None, "minus zero");
    }
}
