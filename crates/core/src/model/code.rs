//! The codes of a refusal: one table, from which answers, HTTP statuses, AWS errors, metrics and
//! documents take what they say of a code. What refuses an event, and when, stands elsewhere.

/// Declares the codes, and what each of the surfaces says for them.
macro_rules! codes {
    ($(
        $code:ident {
            retryable: $retryable:literal,
            http: $http:literal,
            aws: $aws:literal,
            text: $text:literal,
        }
    )+) => {
        /// Why an event was refused, in the order of the table in `docs/protocol.md`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Code { $(#[doc = $text] $code),+ }

        impl Code {
            /// Every code, in order: a code is its index here.
            pub const ALL: [Code; [$(Code::$code),+].len()] = [$(Code::$code),+];

            /// The code's name on the wire, in metrics and in the documents.
            pub fn as_str(self) -> &'static str {
                match self { $(Code::$code => stringify!($code)),+ }
            }

            /// Whether sending the same event again can succeed.
            pub fn retryable(self) -> bool {
                match self { $(Code::$code => $retryable),+ }
            }

            /// The status of an HTTP response that answers one event.
            pub fn http_status(self) -> u16 {
                match self { $(Code::$code => $http),+ }
            }

            /// The error that the Kinesis API has for it, where nothing was stored. What may be
            /// stored is `InternalFailure`, whatever the code: only that makes every SDK ask again.
            pub fn aws_name(self) -> &'static str {
                match self { $(Code::$code => $aws),+ }
            }

            /// What the code means, in few words that are the same for every event.
            pub fn text(self) -> &'static str {
                match self { $(Code::$code => $text),+ }
            }
        }
    };
}

codes! {
    InvalidRequest {
        retryable: false,
        http: 400,
        aws: "ValidationException",
        text: "not JSON, or a field is missing or wrong",
    }
    EventTooLarge {
        retryable: false,
        http: 413,
        aws: "ValidationException",
        text: "over the stream's record limit, or over what the daemon's memory can hold",
    }
    IdReused {
        retryable: false,
        http: 409,
        aws: "ValidationException",
        text: "the id of another event",
    }
    SchemaViolation {
        retryable: false,
        http: 422,
        aws: "ValidationException",
        text: "the data does not fit the schema of its type",
    }
    NoSchema {
        retryable: false,
        http: 422,
        aws: "ValidationException",
        text: "there is no schema for this type",
    }
    Rejected {
        retryable: false,
        http: 422,
        aws: "InvalidArgumentException",
        text: "Kinesis refused this very record for good",
    }
    TransactionTooLarge {
        retryable: false,
        http: 413,
        aws: "ValidationException",
        text: "over a bound of a transaction",
    }
    TransactionEnded {
        retryable: true,
        http: 409,
        aws: "ServiceUnavailable",
        text: "no transaction of this name is open",
    }
    DeliveryTimeout {
        retryable: true,
        http: 503,
        aws: "ProvisionedThroughputExceededException",
        text: "the event was not durable within delivery.timeout",
    }
    ShuttingDown {
        retryable: true,
        http: 503,
        aws: "ServiceUnavailable",
        text: "the daemon stopped before the event was durable",
    }
    Overloaded {
        retryable: true,
        http: 503,
        aws: "ProvisionedThroughputExceededException",
        text: "the daemon takes no more now",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_lists_every_code_in_order_what_it_means_and_which_may_be_sent_again() {
        let page = include_str!("../../../../docs/protocol.md");
        let rows = page.lines().skip_while(|line| *line != "| code | retryable | when |").skip(2);
        let rows: Vec<Vec<_>> = rows
            .take_while(|line| line.starts_with("| `"))
            .map(|line| line.split(" | ").collect())
            .collect();
        let said: Vec<_> = rows.iter().map(|row| (row[0].to_owned(), row[1])).collect();
        let known = Code::ALL.map(|code| {
            let retryable = if code.retryable() { "yes" } else { "no" };
            (format!("| `{}`", code.as_str()), retryable)
        });
        assert_eq!(said, known);
        for (row, code) in rows.iter().zip(Code::ALL) {
            let when = row[2].replace('`', "");
            assert!(when.contains(code.text()), "{}: {when}", code.as_str());
        }
    }

    #[test]
    fn the_runbook_has_every_code_that_is_the_applications_fault() {
        let page = include_str!("../../../../docs/operations.md");
        let table = page.lines().skip_while(|line| *line != "| code | |").skip(2);
        let rows: Vec<_> =
            table.map_while(|line| line.strip_prefix("| `")?.split('`').next()).collect();
        let theirs: Vec<_> =
            Code::ALL.iter().filter(|code| !code.retryable()).map(|code| code.as_str()).collect();
        assert_eq!(rows, theirs);
    }

    #[test]
    fn two_alerts_name_every_code_of_an_event_parted_by_whether_it_may_be_sent_again() {
        let alerts = include_str!("../../../../deploy/alerts.yaml");
        let named = alerts.lines().filter_map(|line| {
            let (_, after) = line.split_once("dispatchd_events_refused_total{code=~\"")?;
            after.split('"').next()
        });
        let named: Vec<Vec<_>> = named.map(|codes| codes.split('|').collect()).collect();
        let (again, for_good): (Vec<Code>, Vec<_>) =
            Code::ALL.into_iter().partition(|code| code.retryable());
        let names = |codes: Vec<Code>| codes.iter().map(|code| code.as_str()).collect::<Vec<_>>();
        assert_eq!(named, [names(again), names(for_good)]);
    }

    #[test]
    fn an_http_status_and_an_aws_error_say_the_same_of_sending_again_as_the_code() {
        // What SDKs send again by themselves, and what they do not.
        const AGAIN: [&str; 2] = ["ProvisionedThroughputExceededException", "ServiceUnavailable"];
        const FOR_GOOD: [&str; 2] = ["ValidationException", "InvalidArgumentException"];
        for code in Code::ALL {
            let (status, names) =
                if code.retryable() { (500..600, AGAIN) } else { (400..500, FOR_GOOD) };
            assert!(names.contains(&code.aws_name()), "{code:?}");
            // What is sent again then is the whole transaction, not the request.
            if code != Code::TransactionEnded {
                assert!(status.contains(&code.http_status()), "{code:?}");
            }
        }
    }
}
