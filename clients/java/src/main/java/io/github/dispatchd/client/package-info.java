/**
 * Publishes events through dispatchd, a daemon beside the application that makes them durable in
 * Amazon Kinesis. Start at {@link io.github.dispatchd.client.DispatchdClient}.
 */
package io.github.dispatchd.client;
