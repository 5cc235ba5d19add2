//! Polynomials over GF(2), and the one that a repository chunks with.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::{Error, Result};

/// The degree of a polynomial to chunk with.
pub(super) const DEGREE: u32 = 53;

/// After so many draws without an irreducible polynomial, the random numbers are none. About one in 27
/// is irreducible; the limit is restic's.
const MAX_DRAWS: u32 = 1_000_000;

/// A polynomial over GF(2) of degree 63 or less: bit i is the coefficient of x^i.
///
/// Written in hexadecimal without prefix or padding, as in the config file.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Polynomial(pub u64);

/// A polynomial that nothing can be chunked with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} is no chunker polynomial: it must be irreducible and of degree 53")]
pub struct InvalidPolynomial(pub Polynomial);

/// A text that is not a polynomial.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a polynomial: hexadecimal digits, of at most 64 bits, are needed")]
pub struct UnreadablePolynomial(String);

impl Polynomial {
    /// Draws a polynomial for a new repository.
    ///
    /// # Errors
    ///
    /// Fails if the system has no random numbers to give.
    pub fn random() -> Result<Self> {
        Self::draw(|bytes| {
            getrandom::fill(bytes)
                .map_err(|error| Error::Refused(format!("there are no random numbers: {error}")))
        })
    }

    /// restic's way: random bits below the leading one, an odd constant term, until it is irreducible.
    fn draw(mut fill: impl FnMut(&mut [u8; 8]) -> Result<()>) -> Result<Self> {
        let mut bytes = [0; 8];
        for _ in 0..MAX_DRAWS {
            fill(&mut bytes)?;
            let below = u64::from_le_bytes(bytes) & ((1 << DEGREE) - 1);
            let polynomial = Self(1 << DEGREE | below | 1);
            if polynomial.is_irreducible() {
                return Ok(polynomial);
            }
        }
        Err(Error::Refused("there is no randomness in the random numbers of the system".to_owned()))
    }

    /// Itself, if one can chunk with it.
    pub(super) fn validated(self) -> Result<Self, InvalidPolynomial> {
        if self.degree() == Some(DEGREE) && self.is_irreducible() {
            Ok(self)
        } else {
            Err(InvalidPolynomial(self))
        }
    }

    /// Whether no polynomials of lower degree, other than constants, have it as their product.
    ///
    /// Ben-Or's test: x^(2^i) - x is the product of all irreducible polynomials whose degree divides i,
    /// so a polynomial of degree n that has no factor in common with any of these up to n/2 has none.
    pub fn is_irreducible(self) -> bool {
        let Some(degree @ 1..) = self.degree() else { return false };
        let x = self.reduce(0b10);
        let mut power = x;
        (1..=degree / 2).all(|_| {
            power = self.square(power);
            common_divisor(self.0, power ^ x) == 1
        })
    }

    /// The highest power of x; zero has none.
    pub fn degree(self) -> Option<u32> {
        self.0.checked_ilog2()
    }

    /// `value` modulo this polynomial, which must not be zero.
    pub(super) fn reduce(self, mut value: u64) -> u64 {
        while let Some(shift) = self.0.leading_zeros().checked_sub(value.leading_zeros()) {
            value ^= self.0 << shift;
        }
        value
    }

    /// The square of `value`, which must be reduced, modulo this polynomial.
    fn square(self, value: u64) -> u64 {
        let mut product = 0;
        let mut shifted = value;
        for bit in 0..u64::BITS - value.leading_zeros() {
            if value >> bit & 1 == 1 {
                product ^= shifted;
            }
            shifted = self.reduce(shifted << 1);
        }
        product
    }
}

/// Euclid's algorithm.
fn common_divisor(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, Polynomial(b).reduce(a));
    }
    a
}

impl fmt::Display for Polynomial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.0)
    }
}

impl fmt::Debug for Polynomial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Polynomial({self})")
    }
}

impl FromStr for Polynomial {
    type Err = UnreadablePolynomial;

    /// Reads what restic reads: upper case and leading zeros too.
    fn from_str(hex: &str) -> Result<Self, UnreadablePolynomial> {
        // The standard library would take a sign.
        let digits = hex.bytes().all(|digit| digit.is_ascii_hexdigit());
        match u64::from_str_radix(hex, 16) {
            Ok(value) if digits => Ok(Self(value)),
            _ => Err(UnreadablePolynomial(hex.to_owned())),
        }
    }
}

impl Serialize for Polynomial {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Polynomial {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Polynomial;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a polynomial in hexadecimal digits")
            }

            fn visit_str<E: serde::de::Error>(self, hex: &str) -> Result<Polynomial, E> {
                hex.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn restics_polynomials_are_irreducible() {
        for polynomial in [0x3da3358b4dc173, 0x25b468838dcb75, 0x2c21eba9f0e14b] {
            assert!(Polynomial(polynomial).is_irreducible(), "{polynomial:x}");
            assert_eq!(Polynomial(polynomial).validated(), Ok(Polynomial(polynomial)));
        }
    }

    #[test]
    fn products_are_not_irreducible() {
        // The first is what restic refuses in a config file; then a square and other products.
        for polynomial in [0x2000000000000a, 0b101, 0b110, 0x3da3358b4dc173 << 1, 1 << 63] {
            assert!(!Polynomial(polynomial).is_irreducible(), "{polynomial:x}");
        }
    }

    #[test]
    fn small_polynomials_are_judged_as_by_trial_division() {
        for value in 0..4096 {
            let degree = |value: u64| value.checked_ilog2().unwrap_or(0);
            let divided = (2..value)
                .filter(|divisor| degree(*divisor) < degree(value))
                .any(|divisor| Polynomial(divisor).reduce(value) == 0);
            assert_eq!(Polynomial(value).is_irreducible(), value >= 2 && !divided, "{value:b}");
        }
    }

    #[test]
    fn chunking_needs_degree_53() {
        // x^2 + x + 1 is irreducible, but too small.
        assert!(Polynomial(0b111).is_irreducible());
        for polynomial in [0, 1, 0b111, 0x2000000000000a, 1 << 54 | 1 << 9 | 1, u64::MAX] {
            assert!(Polynomial(polynomial).validated().is_err(), "{polynomial:x}");
        }
    }

    #[test]
    fn random_polynomials_can_be_chunked_with_and_differ() {
        let (one, other) = (Polynomial::random().unwrap(), Polynomial::random().unwrap());
        assert!(one.validated().is_ok() && other.validated().is_ok());
        assert_ne!(one, other);
    }

    #[test]
    fn random_bytes_become_a_polynomial_as_in_restic() {
        // Little endian; the bits above the degree are dropped, and both ends are set.
        let fill = |bytes: &mut [u8; 8]| {
            *bytes = (0xfffda3358b4dc172u64 & !(1 << 53)).to_le_bytes();
            Ok(())
        };
        assert_eq!(Polynomial::draw(fill).unwrap(), Polynomial(0x3da3358b4dc173));
    }

    #[test]
    fn without_randomness_drawing_fails() {
        let mut draws = 0;
        let broken = Polynomial::draw(|_| {
            draws += 1;
            Err(Error::Cancelled)
        });
        assert!(matches!(broken, Err(Error::Cancelled)));
        assert_eq!(draws, 1);
        // Always the same one, and reducible: this must end.
        assert!(matches!(Polynomial::draw(|_| Ok(())), Err(Error::Refused(_))));
    }

    #[test]
    fn is_written_as_in_the_config_file() {
        let polynomial = Polynomial(0x3da3358b4dc173);
        let json = "\"3da3358b4dc173\"";
        assert_eq!(serde_json::to_string(&polynomial).unwrap(), json);
        assert_eq!(serde_json::from_str::<Polynomial>(json).unwrap(), polynomial);
        assert_eq!("003DA3358B4DC173".parse(), Ok(polynomial));
    }

    #[test]
    fn refuses_what_is_no_polynomial() {
        for text in ["", "+3d", "-1", "0x3d", "3 d", "g", "10000000000000000", "3_d", "\u{e9}"] {
            assert!(text.parse::<Polynomial>().is_err(), "{text}");
        }
        assert!(serde_json::from_str::<Polynomial>("17").is_err());
    }
}
