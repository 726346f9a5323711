/** What an application's own unit tests need: a daemon in memory. */
package io.github.dispatchd.client.testing;
