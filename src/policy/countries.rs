//! Country codes: ISO 3166-1 alpha-2, and `XK` for Kosovo as the databases have it.

use super::diagnostic::Diagnostic;
use super::source::Value;

const CODES: &str = "\
    AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ \
    BL BM BN BO BQ BR BS BT BV BW BY BZ CA CC CD CF CG CH CI CK CL CM CN CO CR \
    CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI FJ FK FM FO FR \
    GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT HU \
    ID IE IL IM IN IO IQ IR IS IT JE JM JO JP KE KG KH KI KM KN KP KR KW KY KZ \
    LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO MP MQ \
    MR MS MT MU MV MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF \
    PG PH PK PL PM PN PR PS PT PW PY QA RE RO RS RU RW SA SB SC SD SE SG SH SI \
    SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM TN TO TR \
    TT TV TW TZ UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS XK YE YT ZA ZM ZW";

/// Codes people write that are not in the standard, and what they mean.
const MEANT: [(&str, &str); 3] = [("UK", "GB"), ("EL", "GR"), ("USA", "US")];

/// # Errors
/// Says what a country looks like.
pub fn parse(text: &str) -> Result<[u8; 2], String> {
    if let Ok(code) = <[u8; 2]>::try_from(text.as_bytes())
        && CODES.split(' ').any(|known| known == text)
    {
        return Ok(code);
    }
    Err("expected a code of ISO 3166-1 such as `US`, in upper case".to_owned())
}

/// Reads a country code; suggests the one that was meant where that is clear.
pub fn lower(value: Value<'_>) -> Option<[u8; 2]> {
    let text = value.text()?;
    match parse(text) {
        Ok(code) => Some(code),
        Err(why) => {
            let upper = text.to_ascii_uppercase();
            let meant = MEANT.iter().find(|(wrong, _)| *wrong == upper).map(|(_, right)| *right);
            let meant = meant.or_else(|| parse(&upper).is_ok().then_some(upper.as_str()));
            let fault = Diagnostic::error(value.place(), format!("`{text}` is not a country"));
            let fault = fault.label(why).naming_unseen(text);
            value.report(match meant {
                Some(right) => fault.suggest(value.place(), format!("\"{right}\"")),
                None => fault,
            });
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_sorted_and_all_there() {
        let codes: Vec<&str> = CODES.split(' ').collect();
        assert_eq!(codes.len(), 250);
        assert!(codes.is_sorted() && codes.iter().all(|code| code.len() == 2));
        assert_eq!(parse("US"), Ok(*b"US"));
        assert!(["us", "UK", "ZZ", "", "USA", "é"].iter().all(|text| parse(text).is_err()));
    }
}
