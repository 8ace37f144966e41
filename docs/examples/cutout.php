<?php
/**
 * Cuts out the subject of one picture, with PHP's curl extension.
 *
 *     php cutout.php http://127.0.0.1:8000 photo.jpg photo-cutout.png [KEY]
 *
 * A busy server says when to try again; a lost connection is tried again with the same Idempotency-Key, so the
 * picture is processed once.
 */

const ATTEMPTS = 5;

function cut_out(string $server, string $picture, ?string $key): string
{
    $headers = ['Content-Type: application/octet-stream', 'Idempotency-Key: ' . bin2hex(random_bytes(16))];
    if ($key !== null) {
        $headers[] = "X-Api-Key: $key";
    }
    for ($attempt = 1; ; $attempt++) {
        $retryAfter = 0;
        $request = curl_init("$server/v1/cutout");
        curl_setopt_array($request, [
            CURLOPT_POST => true,
            CURLOPT_POSTFIELDS => file_get_contents($picture),
            CURLOPT_HTTPHEADER => $headers,
            CURLOPT_RETURNTRANSFER => true,
            CURLOPT_CONNECTTIMEOUT => 10,
            CURLOPT_TIMEOUT => 90,
            CURLOPT_HEADERFUNCTION => function ($_, string $line) use (&$retryAfter): int {
                if (stripos($line, 'Retry-After:') === 0) {
                    $retryAfter = (int) substr($line, strlen('Retry-After:'));
                }
                return strlen($line);
            },
        ]);
        $body = curl_exec($request);
        $status = curl_getinfo($request, CURLINFO_RESPONSE_CODE);
        if ($status === 200 && $body !== false) {
            return $body;
        }
        $detail = $body === false ? curl_error($request) : (json_decode($body)->detail ?? "status $status");
        if ($attempt === ATTEMPTS || ($body !== false && $retryAfter === 0)) {
            throw new RuntimeException($detail);
        }
        sleep($retryAfter ?: 2 ** $attempt);
    }
}

[, $server, $picture, $target] = $argv;
try {
    file_put_contents($target, cut_out($server, $picture, $argv[4] ?? null));
} catch (RuntimeException $error) {
    fwrite(STDERR, $error->getMessage() . "\n");
    exit(1);
}
