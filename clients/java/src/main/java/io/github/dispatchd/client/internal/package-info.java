/** Not for applications: the module does not export this package, and it may change at any time. */
package io.github.dispatchd.client.internal;
