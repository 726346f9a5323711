<?php
// Publishes events through dispatchd, with PHP alone (8.0 or newer). It waits for each event's ack; it never batches.
// Copy it into an application.
//   dispatchd_publish('order.placed', ['total' => 12.5], ['partitionKey' => 'customer-9']);

// Returns the ack once the event is durable, or throws. What may pass is tried again for so many seconds, with the same
// id, so that nothing is stored twice. Outcome unknown: the event may be in the stream all the same.
function dispatchd_publish(string $type, array|object $data, array $options = [], float $timeout = 150): array
{
    static $connection = null, $ref = 0;
    $path = getenv('DISPATCHD_SOCKET') ?: '/run/dispatchd/dispatchd.sock';
    $id = preg_replace('/^(.{8})(.{4}).(.{3}).(.{3})(.{12})$/', '$1-$2-4$3-a$4-$5', bin2hex(random_bytes(16)));
    $event = ['ref' => ++$ref, 'type' => $type, 'data' => (object) $data, 'options' => $options + ['id' => $id]];
    $line = json_encode($event, JSON_THROW_ON_ERROR) . "\n";
    [$deadline, $wait, $outcome, $last] = [microtime(true) + $timeout, 50_000, 'not_stored', 'no answer'];
    while (($left = $deadline - microtime(true)) > 0) {
        $connection = $connection ?: @stream_socket_client("unix://$path", timeout: $left);
        $answer = $connection ? dispatchd_ask($connection, $line, $ref, $left) : null;
        if ($answer['ok'] ?? false) {
            return $answer;
        }
        if ($answer === null) {
            $outcome = $connection ? 'unknown' : $outcome; // the line may have been read
            [$connection, $last] = [null, "no answer from $path"];
        } else {
            $outcome = ($answer['error']['outcome'] ?? '') === 'unknown' ? 'unknown' : $outcome;
            $last = "{$answer['error']['code']}: {$answer['error']['message']}";
            if (!$answer['error']['retryable']) {
                throw new RuntimeException("$last (outcome: $outcome)");
            }
        }
        usleep(random_int(0, (int) max(0, min($wait, ($deadline - microtime(true)) * 1e6))));
        $wait = min($wait * 2, 5_000_000);
    }
    throw new RuntimeException("Timeout: not published within $timeout s, at last: $last (outcome: $outcome)");
}

// The answer to a line, or null if there is none.
function dispatchd_ask($connection, string $line, int $ref, float $left): ?array
{
    if (@fwrite($connection, $line) !== strlen($line)) {
        return null;
    }
    stream_set_timeout($connection, (int) $left, (int) (fmod($left, 1) * 1e6));
    do {
        $answer = json_decode((string) fgets($connection), true);
    } while (isset($answer['ref']) && $answer['ref'] !== $ref);
    return $answer;
}

if (PHP_SAPI === 'cli' && realpath($argv[0]) === __FILE__) {
    echo json_encode(dispatchd_publish($argv[1], json_decode($argv[2]))), "\n";
}
