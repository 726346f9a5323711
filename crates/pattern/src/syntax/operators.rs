//! The operators: objects in a field's list, with one key each.

use super::{Fault, Field, OR, Parsed, Parser, exactly};
use crate::cidr::{Cidr, CidrFlaw};
use crate::error::Reason;
use crate::literal::{Literal, Place};
use crate::number::Number;
use crate::reader::{Scalar, Value};
use crate::test::{Bound, Range, Test};
use crate::wildcard::{Wildcard, WildcardFlaw};

const PREFIX: &str = "prefix";
const SUFFIX: &str = "suffix";
const IGNORE_CASE: &str = "equals-ignore-case";
const WILDCARD: &str = "wildcard";
const NUMERIC: &str = "numeric";
const CIDR: &str = "cidr";
const EXISTS: &str = "exists";
const ANYTHING_BUT: &str = "anything-but";

impl Parser<'_> {
    /// An object in the list of the field `path`, which was just opened.
    pub(super) fn operator(&mut self, field: &mut Field, path: &str) -> Parsed<()> {
        let name = self.name()?;
        let test = match &*name {
            EXISTS => match self.reader.value()? {
                Value::Scalar(Scalar::Bool(true)) => Test::Exists,
                Value::Scalar(Scalar::Bool(false)) => {
                    field.may_be_absent = true;
                    return self.no_other();
                }
                _ => return Err(self.operand(EXISTS, "true or false")),
            },
            PREFIX => self.affix(PREFIX, Place::Start)?,
            SUFFIX => self.affix(SUFFIX, Place::End)?,
            IGNORE_CASE => {
                let text = self.text(IGNORE_CASE, "a text")?;
                Test::Literal(Literal::new(text, Place::Whole, true))
            }
            WILDCARD => {
                let text = self.text(WILDCARD, "a text")?;
                Test::Wildcard(self.wildcard(&text)?)
            }
            CIDR => {
                let text = self.text(CIDR, "a range of addresses, such as \"10.0.0.0/8\"")?;
                Test::Cidr(self.cidr(&text)?)
            }
            NUMERIC => Test::Range(self.range()?),
            ANYTHING_BUT => self.anything_but()?,
            _ if path == OR || path.ends_with(".$or") => {
                return Err(self.fault(Reason::NotAlternatives { name }));
            }
            _ => return Err(self.fault(Reason::UnknownOperator { name })),
        };
        field.tests.push(test);
        self.no_other()
    }

    fn name(&mut self) -> Parsed<String> {
        match self.reader.key()? {
            Some(name) => Ok(name.decoded()),
            None => Err(self.fault(Reason::NoOperator)),
        }
    }

    /// Closes an object behind its one key.
    fn no_other(&mut self) -> Parsed<()> {
        match self.reader.key()? {
            Some(name) => Err(self.fault(Reason::SecondOperator { name: name.decoded() })),
            None => Ok(()),
        }
    }

    fn affix(&mut self, operator: &'static str, place: Place) -> Parsed<Test> {
        const TAKES: &str = "a text, or {\"equals-ignore-case\": a text}";
        let (text, ignores_case) = match self.reader.value()? {
            Value::Scalar(Scalar::Text(text)) => (text.decoded(), false),
            Value::Object => {
                if self.name()? != IGNORE_CASE {
                    return Err(self.operand(operator, TAKES));
                }
                let text = self.text(IGNORE_CASE, "a text")?;
                self.no_other()?;
                (text, true)
            }
            _ => return Err(self.operand(operator, TAKES)),
        };
        Ok(Test::Literal(Literal::new(text, place, ignores_case)))
    }

    fn anything_but(&mut self) -> Parsed<Test> {
        let mut tests = Vec::new();
        match self.reader.value()? {
            Value::Scalar(scalar) => tests.push(self.excluded(scalar)?),
            Value::Array => {
                while self.reader.element()? {
                    let Value::Scalar(scalar) = self.reader.value()? else {
                        return Err(self.operand(ANYTHING_BUT, "a list of texts or of numbers"));
                    };
                    let test = self.excluded(scalar)?;
                    let is_number = |test: &Test| matches!(test, Test::Number(_));
                    if tests.first().is_some_and(|first| is_number(first) != is_number(&test)) {
                        return Err(self.fault(Reason::Mixed));
                    }
                    tests.push(test);
                }
                if tests.is_empty() {
                    return Err(self.fault(Reason::EmptyList));
                }
            }
            Value::Object => {
                self.excluded_by_operator(&mut tests)?;
                self.no_other()?;
            }
        }
        Ok(Test::AnythingBut(tests.into()))
    }

    fn excluded(&self, scalar: Scalar<'_>) -> Parsed<Test> {
        match scalar {
            Scalar::Text(_) => Ok(exactly(scalar)),
            Scalar::Number(number) => Ok(Test::Number(self.comparable(number)?)),
            _ => Err(self.operand(
                ANYTHING_BUT,
                "a text, a number, a list of either, or an object with one of `prefix`, `suffix`, \
                 `wildcard` and `equals-ignore-case`",
            )),
        }
    }

    /// `{"prefix": …}` and the like behind `anything-but`, each of which takes one text or a list.
    fn excluded_by_operator(&mut self, tests: &mut Vec<Test>) -> Parsed<()> {
        const TAKES: &str = "a text or a list of texts behind `anything-but`";
        let operator = match &*self.name()? {
            PREFIX => PREFIX,
            SUFFIX => SUFFIX,
            IGNORE_CASE => IGNORE_CASE,
            WILDCARD => WILDCARD,
            name => {
                let name = format!("{ANYTHING_BUT}: {name}");
                return Err(self.fault(Reason::UnknownOperator { name }));
            }
        };
        match self.reader.value()? {
            Value::Scalar(Scalar::Text(text)) => {
                tests.push(self.excluded_text(operator, text.decoded())?);
            }
            Value::Array => {
                while self.reader.element()? {
                    let Value::Scalar(Scalar::Text(text)) = self.reader.value()? else {
                        return Err(self.operand(operator, TAKES));
                    };
                    tests.push(self.excluded_text(operator, text.decoded())?);
                }
                if tests.is_empty() {
                    return Err(self.fault(Reason::EmptyList));
                }
            }
            _ => return Err(self.operand(operator, TAKES)),
        }
        Ok(())
    }

    fn excluded_text(&self, operator: &'static str, text: String) -> Parsed<Test> {
        let place = match operator {
            WILDCARD => return Ok(Test::Wildcard(self.wildcard(&text)?)),
            IGNORE_CASE => return Ok(Test::Literal(Literal::new(text, Place::Whole, true))),
            PREFIX => Place::Start,
            _ => Place::End,
        };
        if text.is_empty() {
            return Err(self.fault(Reason::ExcludesAll { operator }));
        }
        Ok(Test::Literal(Literal::new(text, place, false)))
    }

    /// `["=", 5]`, or a bound, or a lower one and an upper one.
    fn range(&mut self) -> Parsed<Range> {
        const TAKES: &str = "a list such as [\"=\", 5], [\"<\", 5] or [\">\", 0, \"<=\", 5], with a \
                             lower bound before an upper one";
        let Value::Array = self.reader.value()? else {
            return Err(self.operand(NUMERIC, TAKES));
        };
        let mut range = Range { bottom: None, top: None };
        while self.reader.element()? {
            let Value::Scalar(Scalar::Text(sign)) = self.reader.value()? else {
                return Err(self.operand(NUMERIC, TAKES));
            };
            let sign = sign.decoded();
            let is_inside = sign.ends_with('=');
            let is_lower = match &*sign {
                "=" | ">" | ">=" if range.bottom.is_none() && range.top.is_none() => true,
                "<" | "<=" if range.top.is_none() => false,
                _ => return Err(self.operand(NUMERIC, TAKES)),
            };
            let bound = Bound { number: self.bound(TAKES)?, is_inside };
            if sign == "=" {
                range.top = Some(bound.clone());
            }
            if is_lower {
                range.bottom = Some(bound);
                continue;
            }
            if let Some(bottom) = &range.bottom
                && bound.number.decimal().compare(bottom.number.decimal()).is_le()
            {
                return Err(self.fault(Reason::EmptyRange));
            }
            range.top = Some(bound);
        }
        if range.bottom.is_none() && range.top.is_none() {
            return Err(self.operand(NUMERIC, TAKES));
        }
        Ok(range)
    }

    /// The number behind a sign.
    fn bound(&mut self, takes: &'static str) -> Parsed<Number> {
        if self.reader.element()?
            && let Value::Scalar(Scalar::Number(number)) = self.reader.value()?
        {
            return self.comparable(number);
        }
        Err(self.operand(NUMERIC, takes))
    }

    fn comparable(&self, number: &str) -> Parsed<Number> {
        Number::comparable(number).ok_or_else(|| self.fault(Reason::Inexact))
    }

    fn wildcard(&self, text: &str) -> Parsed<Wildcard> {
        Wildcard::parse(text).map_err(|flaw| {
            self.fault(match flaw {
                WildcardFlaw::Consecutive { index } => Reason::ConsecutiveWildcards { index },
                WildcardFlaw::Escape { index } => Reason::WildcardEscape { index },
            })
        })
    }

    fn cidr(&self, text: &str) -> Parsed<Cidr> {
        Cidr::parse(text).map_err(|flaw| {
            self.fault(match flaw {
                CidrFlaw::NoMask => Reason::NoMask,
                CidrFlaw::NotAnAddress => Reason::NotAnAddress,
                CidrFlaw::Mask { below } => Reason::Mask { below },
            })
        })
    }

    fn text(&mut self, operator: &'static str, takes: &'static str) -> Parsed<String> {
        match self.reader.value()? {
            Value::Scalar(Scalar::Text(text)) => Ok(text.decoded()),
            _ => Err(self.operand(operator, takes)),
        }
    }

    fn operand(&self, operator: &'static str, takes: &'static str) -> Fault {
        self.fault(Reason::Operand { operator, takes })
    }
}
